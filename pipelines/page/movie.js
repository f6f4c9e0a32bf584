// The molecule along each CV: plays, turns, and goes to any frame, by buttons, by keys and by hand.
(() => {
  "use strict";
  const part = name => document.getElementById("movie-" + name);
  const told = JSON.parse(part("data").textContent);
  const which = part("which"), play = part("play"), turn = part("turn"), place = part("place"), said = part("said"), scene = part("scene");
  let viewer = null, movie = told.movies[0], step = 1, timer = 0;

  const COLOURS = { prop: "elem", map: { ...$3Dmol.elementColors.Jmol, C: 0x8c8c8c } };  // seen on white and on black
  const partners = told.symbols.map(() => []);
  for (const [a, b] of told.bonds) { partners[a].push(b); partners[b].push(a); }
  const atoms = positions => told.symbols.map((elem, i) => ({
    elem, index: i, serial: i, bonds: partners[i], bondOrder: partners[i].map(() => 1),
    x: positions[3 * i] / 100, y: positions[3 * i + 1] / 100, z: positions[3 * i + 2] / 100,
  }));

  function show(number) {
    place.value = number;
    said.textContent = `${movie.cv} = ${movie.at[number].toFixed(2)}, frame ${number + 1} of ${movie.frames.length}`;
    viewer.removeAllModels();
    viewer.addModel().addAtoms(atoms(movie.frames[number]));
    viewer.setStyle({}, { stick: { radius: 0.14, colorscheme: COLOURS }, sphere: { scale: 0.25, colorscheme: COLOURS } });
    viewer.render();
  }
  function choose() {
    movie = told.movies[which.value];
    place.max = movie.frames.length - 1;
    show(Math.min(Number(place.value), movie.frames.length - 1));
  }
  function next() {
    const last = movie.frames.length - 1, now = Number(place.value);
    if (now + step > last || now + step < 0) step = -step;
    show(Math.max(0, Math.min(last, now + step)));
  }
  function press(button, on, words) {
    button.setAttribute("aria-pressed", on);
    button.textContent = on ? words[1] : words[0];
  }
  function playing(on) {
    clearInterval(timer);
    timer = on ? setInterval(next, 160) : 0;
    press(play, on, ["Play", "Pause"]);
  }
  function turning(on) {
    viewer.spin(on ? "y" : false, 0.6);
    press(turn, on, ["Turn", "Stop turning"]);
  }
  const KEYS = { ArrowLeft: [-12, "y"], ArrowRight: [12, "y"], ArrowUp: [-12, "x"], ArrowDown: [12, "x"] };

  try {
    viewer = $3Dmol.createViewer(scene, { backgroundAlpha: 0, disableFog: true });
    if (!viewer) throw new Error("no WebGL");
    choose();
    viewer.zoomTo();
    viewer.zoom(1.15);
    viewer.render();
  } catch (error) {
    part("none").hidden = false;
    part("controls").hidden = scene.hidden = true;
    return;
  }
  which.addEventListener("change", choose);
  place.addEventListener("input", () => { playing(false); show(Number(place.value)); });
  play.addEventListener("click", () => playing(!timer));
  turn.addEventListener("click", () => turning(turn.getAttribute("aria-pressed") !== "true"));
  scene.addEventListener("keydown", event => {
    const key = KEYS[event.key];
    if (!key) return;
    event.preventDefault();
    viewer.rotate(...key);
  });
  scene.addEventListener("wheel", event => event.stopImmediatePropagation(), { capture: true, passive: true });  // scrolls the page
  document.addEventListener("visibilitychange", () => { if (document.hidden) playing(false); });
})();
