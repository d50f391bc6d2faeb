// Three slices through the volume that follow sliders, in report.html. The element #volume holds, as JSON:
//   n, first, pitch   number of voxels, centre of the first one and distance (um) along x, y, z
//   start             the voxel that the slices show first
//   columns           tiles in a row of a contact sheet; a tile is a layer of z, its rows are y
//   mask              contact sheet of the grain, white inside
//   fields            [{title, text, sheet}], pictures as data URLs
(() => {
  "use strict";
  const volume = JSON.parse(document.getElementById("volume").textContent);
  const keys = JSON.parse(document.getElementById("keys")?.textContent ?? "{}");
  const viewer = document.getElementById("viewer");
  const { n, first, pitch, columns } = volume;
  const at = [...volume.start];
  const margin = { left: 46, right: 10, top: 6, bottom: 34 };
  let mask, field, wanted;

  // The pixels (RGBA) of a contact sheet.
  async function pixelsOf(url) {
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  // Where voxel (x, y, z) starts in the data of a sheet.
  const place = (sheet, [x, y, z]) =>
    4 * (((Math.floor(z / columns) * n[1] + y) * sheet.width) + (z % columns) * n[0] + x);

  const um = (axis, i) => first[axis] + pitch[axis] * i;

  // Voxel of the slice normal to an axis; u runs to the right, v up.
  function voxel(axis, u, v) {
    const [across, up] = [0, 1, 2].filter((i) => i !== axis);
    const xyz = [0, 0, 0];
    xyz[axis] = at[axis];
    xyz[across] = u;
    xyz[up] = v;
    return xyz;
  }

  function slice(axis, nu, nv) {
    const image = new ImageData(nu, nv);
    for (let v = 0; v < nv; v++) {
      for (let u = 0; u < nu; u++) {
        const from = place(field.pixels, voxel(axis, u, v));
        image.data.set(field.pixels.data.subarray(from, from + 4), 4 * ((nv - 1 - v) * nu + u));
      }
    }
    const canvas = document.createElement("canvas");
    canvas.width = nu;
    canvas.height = nv;
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  // The sides of voxels at which the slice leaves the grain.
  function outline(context, axis, nu, nv, toX, toY) {
    const inside = (u, v) =>
      u >= 0 && v >= 0 && u < nu && v < nv && mask.data[place(mask, voxel(axis, u, v))] > 0;
    context.beginPath();
    for (let v = 0; v <= nv; v++) {
      for (let u = 0; u <= nu; u++) {
        if (inside(u, v) !== inside(u - 1, v)) {
          context.moveTo(toX(u - 0.5), toY(v - 0.5));
          context.lineTo(toX(u - 0.5), toY(v + 0.5));
        }
        if (inside(u, v) !== inside(u, v - 1)) {
          context.moveTo(toX(u - 0.5), toY(v - 0.5));
          context.lineTo(toX(u + 0.5), toY(v - 0.5));
        }
      }
    }
    for (const [colour, width] of [["black", 2.4], ["white", 1.1]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }

  // Round positions (um) between two limits, at most six.
  function ticks(low, high) {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(Number((i * step).toPrecision(6)));
    return found;
  }

  function axes(context, axis, box, nu, nv, toX, toY) {
    const [across, up] = [0, 1, 2].filter((i) => i !== axis);
    context.fillStyle = "#3b4754";
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const value of ticks(um(across, -0.5), um(across, nu - 0.5))) {
      context.fillText(String(value), toX((value - first[across]) / pitch[across]), box.bottom + 3);
    }
    context.fillText(`${"xyz"[across]} (µm)`, (box.left + box.right) / 2, box.bottom + 18);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of ticks(um(up, -0.5), um(up, nv - 0.5))) {
      context.fillText(String(value), box.left - 5, toY((value - first[up]) / pitch[up]));
    }
    context.save();
    context.translate(9, (box.top + box.bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(`${"xyz"[up]} (µm)`, 0, 0);
    context.restore();
    context.strokeStyle = "#22303c88"; // where the other slices are
    context.lineWidth = 1;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(toX(at[across]), box.top);
    context.lineTo(toX(at[across]), box.bottom);
    context.moveTo(box.left, toY(at[up]));
    context.lineTo(box.right, toY(at[up]));
    context.stroke();
  }

  function draw(axis) {
    const canvas = viewer.querySelector(`canvas[data-axis="${axis}"]`);
    const [across, up] = [0, 1, 2].filter((i) => i !== axis);
    const [nu, nv] = [n[across], n[up]];
    const width = canvas.clientWidth - margin.left - margin.right;
    const ratio = (nv * pitch[up]) / (nu * pitch[across]);
    const height = width * Math.min(Math.max(ratio, 1 / 8), 8);
    const box = { left: margin.left, top: margin.top, right: margin.left + width, bottom: margin.top + height };
    const sharp = window.devicePixelRatio || 1;
    canvas.style.height = `${box.bottom + margin.bottom}px`;
    canvas.width = Math.round(canvas.clientWidth * sharp);
    canvas.height = Math.round((box.bottom + margin.bottom) * sharp);
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    context.imageSmoothingEnabled = false;
    context.drawImage(slice(axis, nu, nv), box.left, box.top, width, height);
    const toX = (u) => box.left + ((u + 0.5) / nu) * width;
    const toY = (v) => box.bottom - ((v + 0.5) / nv) * height;
    outline(context, axis, nu, nv, toX, toY);
    axes(context, axis, box, nu, nv, toX, toY);
    canvas.pick = (x, y) => {
      move(across, Math.floor(((x - box.left) / width) * nu));
      move(up, Math.floor(((box.bottom - y) / height) * nv));
    };
    const where = `${"xyz"[axis]} = ${Number(um(axis, at[axis]).toPrecision(4))} µm`;
    viewer.querySelector(`output[data-axis="${axis}"]`).textContent = where;
  }

  const drawAll = () => field && [0, 1, 2].forEach(draw); // nothing before the first field is unpacked

  function move(axis, i) {
    at[axis] = Math.min(Math.max(i, 0), n[axis] - 1);
    viewer.querySelector(`input[data-axis="${axis}"]`).value = at[axis];
  }

  async function show(i) {
    const chosen = volume.fields[i];
    wanted = chosen;
    chosen.pixels ??= await pixelsOf(chosen.sheet);
    if (wanted !== chosen) return; // another was chosen while this one was unpacked
    field = chosen;
    viewer.querySelectorAll("button").forEach((button, k) => button.setAttribute("aria-pressed", k === i));
    viewer.querySelector(".about").textContent = chosen.text;
    const key = viewer.querySelector(".key");
    key.hidden = !keys[chosen.title];
    key.src = keys[chosen.title] ?? "";
    key.alt = `Key of the colours: ${chosen.title}`;
    drawAll();
  }

  async function start() {
    mask = await pixelsOf(volume.mask);
    volume.fields.forEach((chosen, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = chosen.title;
      button.addEventListener("click", () => show(i));
      viewer.querySelector("nav").append(button);
    });
    for (const input of viewer.querySelectorAll("input")) {
      const axis = Number(input.dataset.axis);
      input.max = n[axis] - 1;
      input.disabled = n[axis] === 1;
      move(axis, at[axis]);
      input.addEventListener("input", () => {
        at[axis] = Number(input.value);
        drawAll();
      });
    }
    for (const canvas of viewer.querySelectorAll("canvas")) {
      canvas.addEventListener("click", (event) => {
        canvas.pick(event.offsetX, event.offsetY);
        drawAll();
      });
    }
    document.body.classList.add("live");
    await show(0);
    viewer.dataset.ready = "yes";
    window.addEventListener("resize", drawAll);
  }

  start();
})();
