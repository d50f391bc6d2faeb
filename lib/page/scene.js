// The grain in 3D, cut open by planes, in report.html. The element #scene-data holds, as JSON:
//   n, start, pitch   voxels along x, y, z, the corner of the first one and their distance (um)
//   mask              1 in the grain; the voxels of the grain are numbered in order of x, y, z
//   points, corners   the surface: places (um), four of them to a face; owner: its voxel
//   fields            [{name, unit, low, step, digits, numbers}], numbers of 16 bits, 65535 where unknown,
//                     each less the one before
//   told              which of the fields are told of the voxel under the pointer
//   paints            [{title, text, fields, limits, sides, table}]: colours by one field or two
// Arrays are compressed bytes in base64; so is plotly's script in the element #plotly.
(() => {
  "use strict";
  const section = document.getElementById("scene");
  const scene = JSON.parse(document.getElementById("scene-data").textContent);
  const keys = JSON.parse(document.getElementById("keys")?.textContent ?? "{}");
  const { n, start, pitch } = scene;
  const view = section.querySelector(".view");
  const AXES = [0, 1, 2];
  const MISSING = 65535;
  const GREY = [0.894, 0.91, 0.925, 1];
  const EDGE = "#22303c";
  const planes = AXES.map((axis) => ({ axis, on: true, at: 0, side: axis === 1 ? -1 : 1 }));
  const length = AXES.map((axis) => n[axis] * pitch[axis]);
  let number; // of each voxel of the box among those of the grain, -1 outside
  let cut; // see cutting.js
  let paint; // the chosen one
  const tip = document.createElement("div");
  const pointer = { x: 0, y: 0 };
  let faces = []; // of each triangle drawn its voxel: of the surface, of the cuts

  async function unpack(text) {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(plain).arrayBuffer();
  }

  // ---- Voxels and their colours ----

  function count(mask) {
    const numbers = new Int32Array(mask.length);
    let next = 0;
    for (let i = 0; i < mask.length; i++) numbers[i] = mask[i] ? next++ : -1;
    return numbers;
  }

  const valueOf = (field, voxel) =>
    field.values[voxel] === MISSING ? NaN : field.low + field.step * field.values[voxel];

  async function numbersOf(field) {
    const numbers = new Uint16Array(await unpack(field.numbers));
    for (let i = 1; i < numbers.length; i++) numbers[i] += numbers[i - 1]; // modulo 65536
    return numbers;
  }

  async function prepare(chosen) {
    for (const i of chosen.fields) {
      const field = scene.fields[i];
      field.values ??= await numbersOf(field);
    }
    if (chosen.colours) return;
    const table = new Uint8Array(await unpack(chosen.table));
    chosen.colours = [];
    for (let i = 0; i < table.length; i += 3) {
      chosen.colours.push([table[i] / 255, table[i + 1] / 255, table[i + 2] / 255, 1]);
    }
  }

  function colour(voxel) {
    let place = 0;
    for (let k = paint.fields.length - 1; k >= 0; k--) {
      const [low, high] = paint.limits[k];
      const value = valueOf(scene.fields[paint.fields[k]], voxel);
      if (Number.isNaN(value)) return GREY;
      const share = Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
      place = place * paint.sides[k] + Math.round(share * (paint.sides[k] - 1));
    }
    return paint.colours[place];
  }

  // ---- Drawing ----

  function trace(mesh, lighting) {
    return {
      type: "mesh3d",
      ...mesh,
      voxels: undefined,
      facecolor: mesh.voxels.map(colour),
      lighting,
      lightposition: { x: 2e4, y: -1e4, z: 4e4 },
      hoverinfo: "none",
    };
  }

  function layout() {
    // plotly turns the title of an upright axis upside down
    const upright = { title: { text: "" }, tickprefix: "z (µm)  ", showtickprefix: "last" };
    const axis = (i) => ({
      ...(i < 2 ? { title: { text: `${"xyz"[i]} (µm)`, font: { size: 13 } } } : upright),
      range: [start[i] - 0.03 * length[i], start[i] + 1.03 * length[i]],
      nticks: 6,
      showbackground: false,
      gridcolor: "#dde3e9",
      linecolor: "#9aa5b1",
      zeroline: false,
      showspikes: false,
    });
    const far = view.clientWidth < view.clientHeight ? 1.42 : 1.07;
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 },
      paper_bgcolor: "white",
      font: { family: "system-ui, sans-serif", size: 11, color: "#3b4754" },
      showlegend: false,
      uirevision: "kept",
      scene: {
        xaxis: axis(0),
        yaxis: axis(1),
        zaxis: axis(2),
        aspectmode: "data",
        camera: { eye: { x: 1.25 * far, y: -1.35 * far, z: 0.85 * far }, center: { x: 0, y: 0, z: -0.11 } },
        dragmode: "orbit",
      },
    };
  }

  async function draw() {
    const { outside, inside, rims } = cut(planes.filter((plane) => plane.on));
    faces = [outside.voxels, inside.voxels];
    const soft = { ambient: 0.85, diffuse: 0.3, specular: 0.08, roughness: 0.6, fresnel: 0.05 };
    const flat = { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 };
    const rim = { type: "scatter3d", mode: "lines", ...rims, line: { color: EDGE, width: 2.5 } };
    const data = [trace(outside, soft), trace(inside, flat), { ...rim, hoverinfo: "skip" }];
    await window.Plotly.react(view, data, layout(), {
      displaylogo: false,
      plotGlPixelRatio: window.devicePixelRatio || 1, // twice as fine by itself, on any screen
      responsive: true,
      scrollZoom: true,
      modeBarButtons: [["toImage", "orbitRotation", "pan3d", "zoom3d", "resetCameraDefault3d"]],
      toImageButtonOptions: { filename: "grain", scale: 3 },
    });
  }

  // One drawing at a time; what was asked for meanwhile is drawn once afterwards.
  let busy = false;
  let wanted = false;
  async function drawSoon() {
    wanted = true;
    if (busy) return;
    busy = true;
    try {
      while (wanted) {
        wanted = false;
        await draw();
        await new Promise((done) => setTimeout(done));
      }
    } finally {
      busy = false;
    }
  }

  // ---- What the reader does ----

  // A place with as many digits as voxels deserve; no minus before zero.
  const digits = Math.max(0, Math.ceil(0.5 - Math.log10(Math.min(...pitch))));
  const inUm = (um) => (Number(um.toFixed(digits)) || 0).toFixed(digits);

  // deg as a sign, powers (1e-4, m^-2) as they are printed.
  function unitOf(field) {
    const raised = (_, power) => power.replace(/./g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    if (field.unit === "deg") return "°";
    const text = field.unit.replace(/^1e(-?\d+)/, (_, power) => `·10${raised(_, power)}`);
    return (text.startsWith("·") ? "" : " ") + text.replace(/\^(-?\d+)/g, raised);
  }

  function tell(voxel) {
    const place = placeOf(voxel).map(inUm);
    const words = [`x ${place[0]}, y ${place[1]}, z ${place[2]} µm`];
    for (const i of new Set([...scene.told, ...paint.fields])) {
      const field = scene.fields[i];
      const value = valueOf(field, voxel);
      const text = Number.isNaN(value) ? "unknown" : value.toFixed(field.digits);
      words.push(`${field.name} ${text}${unitOf(field)}`.trim());
    }
    return words;
  }

  function placeOf(voxel) {
    const i = number.indexOf(voxel);
    const at = [Math.floor(i / (n[1] * n[2])), Math.floor(i / n[2]) % n[1], i % n[2]];
    return AXES.map((axis) => start[axis] + (at[axis] + 0.5) * pitch[axis]);
  }

  function hover(event) {
    const { curveNumber, pointNumber } = event.points[0];
    const voxel = faces[curveNumber]?.[pointNumber];
    if (voxel === undefined) return;
    const words = tell(voxel);
    section.querySelector(".told").textContent = words.join(" · ");
    tip.replaceChildren(...words.map((word) => Object.assign(document.createElement("div"), { textContent: word })));
    const room = view.clientWidth - pointer.x;
    tip.style.top = `${pointer.y + 14}px`;
    tip.style.left = room > 200 ? `${pointer.x + 14}px` : "auto";
    tip.style.right = room > 200 ? "auto" : `${room + 8}px`;
    tip.hidden = false;
  }

  // The label that goes with the pointer.
  function followPointer() {
    tip.className = "tip";
    tip.hidden = true;
    view.append(tip);
    view.addEventListener("pointermove", (event) => {
      const box = view.getBoundingClientRect();
      Object.assign(pointer, { x: event.clientX - box.left, y: event.clientY - box.top });
    }, true);
    view.on("plotly_hover", hover);
    view.on("plotly_unhover", () => (tip.hidden = true));
  }

  let latest = null;
  async function choose(i) {
    const chosen = (latest = scene.paints[i]);
    await prepare(chosen);
    if (latest !== chosen) return; // another was chosen meanwhile
    paint = chosen;
    section.querySelectorAll(".paints button").forEach((b, k) => b.setAttribute("aria-pressed", k === i));
    section.querySelector(".about").textContent = chosen.text;
    const key = section.querySelector(".key");
    key.hidden = !keys[chosen.title];
    key.src = keys[chosen.title] ?? "";
    key.alt = `Key of the colours: ${chosen.title}`;
    await drawSoon();
  }

  function moveTo(plane, layer) {
    plane.at = start[plane.axis] + layer * pitch[plane.axis];
    section.querySelector(`.cuts [data-axis="${plane.axis}"] output`).textContent = `${inUm(plane.at)} µm`;
  }

  function listen(plane) {
    const row = section.querySelector(`.cuts [data-axis="${plane.axis}"]`);
    const slider = row.querySelector('input[type="range"]');
    slider.max = n[plane.axis];
    slider.value = Math.round(n[plane.axis] / 2);
    moveTo(plane, Number(slider.value));
    slider.addEventListener("input", () => {
      moveTo(plane, Number(slider.value));
      drawSoon();
    });
    row.querySelector('input[type="checkbox"]').addEventListener("change", (event) => {
      plane.on = event.target.checked;
      drawSoon();
    });
    row.querySelector("button").addEventListener("click", () => {
      plane.side = -plane.side;
      drawSoon();
    });
  }

  function canDraw() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl") ?? canvas.getContext("experimental-webgl"));
  }

  // The script of plotly, which the browser compiles beside what else is done.
  async function library() {
    const script = document.createElement("script");
    const ran = new Promise((done, failed) => Object.assign(script, { onload: done, onerror: failed }));
    const bytes = await unpack(document.getElementById("plotly").textContent);
    script.src = URL.createObjectURL(new Blob([bytes], { type: "text/javascript" }));
    document.head.append(script);
    await ran;
    URL.revokeObjectURL(script.src);
  }

  async function voxels() {
    number = count(new Uint8Array(await unpack(scene.mask)));
    const points = new Float32Array(await unpack(scene.points));
    const corners = new Uint32Array(await unpack(scene.corners));
    const owner = new Uint32Array(await unpack(scene.owner));
    cut = cutter({ n, start, pitch, number, points, corners, owner });
    for (const i of scene.told) scene.fields[i].values = await numbersOf(scene.fields[i]);
    await prepare(scene.paints[0]);
  }

  async function begin() {
    if (!canDraw() || !window.DecompressionStream) return;
    await Promise.all([library(), voxels()]);
    await new Promise((done) => setTimeout(done)); // the page may answer in between
    document.body.classList.add("turning");
    scene.paints.forEach((chosen, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = chosen.title;
      button.addEventListener("click", () => choose(i));
      section.querySelector(".paints").append(button);
    });
    planes.forEach(listen);
    await choose(0);
    followPointer();
    view.on("plotly_webglcontextlost", () => document.body.classList.remove("turning"));
    section.dataset.ready = "yes";
  }

  // The page is there to be read first, with the still picture.
  const start3d = () => begin().catch((error) => {
    document.body.classList.remove("turning");
    throw error;
  });
  if (document.readyState === "complete") start3d();
  else window.addEventListener("load", () => setTimeout(start3d));
})();
