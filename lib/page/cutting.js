// Cutting the surface of a grain open, for scene.js. cutter(grain) takes
//   n, start, pitch   voxels along x, y, z, the corner of the first one and their distance (um)
//   number            of each voxel of the box, -1 outside of the grain
//   points, corners   the surface: places (um), four of them to a face; owner: its voxel
// and gives cut(planes): what planes [{axis, at, side}] leave of the surface, the faces that they lay open, and
// the rims of these. What lies beyond all the planes is gone; beyond is where side * (place - at) > 0.
function cutter({ n, start, pitch, number, points, corners, owner }) {
  const AXES = [0, 1, 2];

  // Number of voxel (x, y, z) among those of the grain, -1 outside.
  function numberAt(x, y, z) {
    const inside = x >= 0 && y >= 0 && z >= 0 && x < n[0] && y < n[1] && z < n[2];
    return inside ? number[(x * n[1] + y) * n[2] + z] : -1;
  }

  const beyond = (cut, p) => cut.side * (p[cut.axis] - cut.at); // above zero: on the side that goes

  // The parts of a polygon on both sides of a plane.
  function split(polygon, cut) {
    const parts = { kept: [], gone: [] };
    polygon.forEach((p, i) => {
      const q = polygon[(i + 1) % polygon.length];
      const [a, b] = [beyond(cut, p), beyond(cut, q)];
      if (a <= 0) parts.kept.push(p);
      if (a >= 0) parts.gone.push(p);
      if ((a < 0 && b > 0) || (a > 0 && b < 0)) {
        const middle = p.map((v, k) => v + ((q[k] - v) * a) / (a - b));
        parts.kept.push(middle);
        parts.gone.push(middle);
      }
    });
    return parts;
  }

  function newMesh() {
    return { x: [], y: [], z: [], i: [], j: [], k: [], voxels: [] };
  }

  function addPoint(mesh, p) {
    mesh.x.push(p[0]);
    mesh.y.push(p[1]);
    return mesh.z.push(p[2]) - 1;
  }

  function addFace(mesh, a, b, c, voxel) {
    mesh.i.push(a);
    mesh.j.push(b);
    mesh.k.push(c);
    mesh.voxels.push(voxel);
  }

  function addPolygon(mesh, polygon, voxel) {
    const places = polygon.map((p) => addPoint(mesh, p));
    for (let k = 2; k < places.length; k++) addFace(mesh, places[0], places[k - 1], places[k], voxel);
  }

  // What the planes leave of the surface, and the lines along which they cut it.
  function trim(planes) {
    const mesh = newMesh();
    const lines = planes.map(() => []);
    const moved = new Int32Array(points.length / 3).fill(-1);
    const place = (i) => [points[3 * i], points[3 * i + 1], points[3 * i + 2]];
    const keep = (i) => (moved[i] < 0 ? (moved[i] = addPoint(mesh, place(i))) : moved[i]);
    for (let f = 0; f < owner.length; f++) {
      const four = corners.subarray(4 * f, 4 * f + 4);
      const polygon = [...four].map(place);
      const sides = planes.map((cut) => polygon.filter((p) => beyond(cut, p) > 0).length);
      planes.forEach((cut, k) => {
        if (sides[k] % 4) lines[k].push(...crossings(polygon, cut));
      });
      if (!planes.length || sides.includes(0)) {
        const [a, b, c, d] = [...four].map(keep);
        addFace(mesh, a, b, c, owner[f]);
        addFace(mesh, a, c, d, owner[f]);
      } else if (sides.some((side) => side < 4)) {
        let rest = polygon;
        for (const cut of planes) {
          const parts = split(rest, cut);
          if (parts.kept.length > 2) addPolygon(mesh, parts.kept, owner[f]);
          rest = parts.gone;
          if (rest.length < 3) break;
        }
      }
    }
    return { mesh, lines };
  }

  // Where a plane crosses a face: pairs of points, of its two triangles.
  function crossings([a, b, c, d], cut) {
    const found = [];
    for (const triangle of [[a, b, c], [a, c, d]]) {
      const ends = [];
      triangle.forEach((p, i) => {
        const q = triangle[(i + 1) % 3];
        const [u, v] = [beyond(cut, p), beyond(cut, q)];
        if (u > 0 !== v > 0) ends.push(p.map((w, k) => w + ((q[k] - w) * u) / (u - v)));
      });
      if (ends.length === 2) found.push(ends);
    }
    return found;
  }

  // The stretches of a plane between the lines of the surface, for v from low to high: [from, to] along u.
  function stretches(lines, u, v, middle) {
    const places = [];
    for (const [p, q] of lines) {
      if (p[v] > middle !== q[v] > middle) {
        places.push(p[u] + ((q[u] - p[u]) * (middle - p[v])) / (q[v] - p[v]));
      }
    }
    places.sort((a, b) => a - b);
    const pairs = [];
    for (let k = 1; k < places.length; k += 2) pairs.push([places[k - 1], places[k]]);
    return pairs;
  }

  // The part of an axis on which the other planes cut.
  function reach(axis, planes) {
    const cut = planes.find((other) => other.axis === axis);
    const [low, high] = [start[axis] - pitch[axis], start[axis] + (n[axis] + 1) * pitch[axis]];
    if (!cut) return [low, high];
    return cut.side > 0 ? [cut.at, high] : [low, cut.at];
  }

  // The voxel of the grain at a place in a layer, or the nearest one beside it.
  function nearest(layer, axis, u, v, a, b) {
    const at = [0, 0, 0];
    at[axis] = layer;
    for (const [da, db] of [[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1], [-1, -1], [1, 1], [-1, 1], [1, -1]]) {
      at[u] = a + da;
      at[v] = b + db;
      const voxel = numberAt(...at);
      if (voxel >= 0) return voxel;
    }
    return -1;
  }

  // The voxels that a plane lays open, as rectangles between the lines of the surface.
  function addCut(mesh, cut, lines, planes) {
    const [u, v] = AXES.filter((axis) => axis !== cut.axis);
    const others = planes.filter((other) => other !== cut);
    const [fromU, toU] = reach(u, others);
    const [fromV, toV] = reach(v, others);
    const into = (cut.at - start[cut.axis]) / pitch[cut.axis] - cut.side * 1e-3;
    const layer = Math.floor(into);
    const strips = Math.max(1, Math.ceil(160 / n[v])); // finer than voxels, for a smooth rim
    const step = pitch[v] / strips;
    const sorted = bands(lines, v, step);
    for (let row = -strips; row < (n[v] + 1) * strips; row++) {
      const low = Math.max(start[v] + row * step, fromV);
      const high = Math.min(start[v] + (row + 1) * step, toV);
      if (high <= low) continue;
      const b = Math.floor(((low + high) / 2 - start[v]) / pitch[v]);
      for (const [left, right] of stretches(sorted.get(row) ?? [], u, v, (low + high) / 2)) {
        const [first, last] = [Math.max(left, fromU), Math.min(right, toU)];
        for (let p = first; p < last; ) {
          const a = Math.floor((p - start[u]) / pitch[u] + 1e-6);
          const q = Math.min(last, start[u] + (a + 1) * pitch[u]);
          const voxel = nearest(layer, cut.axis, u, v, a, b);
          if (voxel >= 0) addRectangle(mesh, cut, [u, v], [p, q], [low, high], voxel);
          p = q;
        }
      }
    }
  }

  // The lines by the strips that they touch.
  function bands(lines, v, step) {
    const found = new Map();
    for (const line of lines) {
      const ends = line.map((p) => Math.floor((p[v] - start[v]) / step));
      for (let row = Math.min(...ends) - 1; row <= Math.max(...ends) + 1; row++) {
        if (!found.has(row)) found.set(row, []);
        found.get(row).push(line);
      }
    }
    return found;
  }

  function addRectangle(mesh, cut, [u, v], [p, q], [low, high], voxel) {
    const corner = (a, b) => {
      const place = [0, 0, 0];
      place[cut.axis] = cut.at;
      place[u] = a;
      place[v] = b;
      return place;
    };
    addPolygon(mesh, [corner(p, low), corner(q, low), corner(q, high), corner(p, high)], voxel);
  }

  // The rims of the cuts, and the edges where planes meet, as one line with gaps.
  function rims(lines, planes) {
    const path = { x: [], y: [], z: [] };
    const add = (p) => AXES.forEach((axis) => path["xyz"[axis]].push(p ? p[axis] : null));
    lines.forEach((ofOne, k) => {
      const others = planes.filter((_, i) => i !== k);
      for (const [p, q] of ofOne) {
        if (others.every((cut) => beyond(cut, p) >= 0 && beyond(cut, q) >= 0)) [p, q, null].forEach(add);
      }
    });
    for (const [k, plane] of planes.entries()) {
      for (const other of planes.slice(k + 1)) {
        const along = AXES.find((axis) => axis !== plane.axis && axis !== other.axis);
        const [from, to] = reach(along, planes);
        for (const [p, q] of stretches(lines[k], along, other.axis, other.at)) {
          const ends = [Math.max(p, from), Math.min(q, to)];
          if (ends[1] > ends[0]) [...ends.map((end) => meeting(plane, other, along, end)), null].forEach(add);
        }
      }
    }
    return path;
  }

  // A place on the line in which two planes meet, a little before both so that it is seen.
  function meeting(plane, other, along, um) {
    const place = [0, 0, 0];
    for (const { axis, at, side } of [plane, other]) place[axis] = at + 0.1 * side * pitch[axis];
    place[along] = um;
    return place;
  }

  return (planes) => {
    const { mesh, lines } = trim(planes);
    const inside = newMesh();
    planes.forEach((cut, k) => addCut(inside, cut, lines[k], planes));
    return { outside: mesh, inside, rims: rims(lines, planes) };
  };
}
