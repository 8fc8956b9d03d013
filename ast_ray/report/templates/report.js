"use strict";
(() => {
  const root = document.documentElement;
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme || (systemDark.matches ? "dark" : "light")) === "dark";
  const name = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  systemDark.addEventListener("change", name);
  name();
  document.querySelectorAll(".control").forEach((element) => { element.hidden = false; });

  for (const gallery of document.querySelectorAll(".gallery")) {
    const source = gallery.querySelector("script.frames");
    if (!source) continue;
    const { labels, captions: texts, tiles } = JSON.parse(source.textContent);
    const slider = gallery.querySelector("input[type=range]");
    const output = gallery.querySelector("output");
    const play = gallery.querySelector(".play");
    const images = [...gallery.querySelectorAll("img.now")];
    const captions = [...gallery.querySelectorAll(".when")];
    const title = play.getAttribute("aria-label").replace(/^Play /, "");
    let timer = 0;
    const show = () => {
      const at = Number(slider.value);
      images.forEach((image, label) => {
        image.src = tiles[label][at];
        image.alt = `${image.dataset.name}, ${labels[at]}`;
        captions[label].textContent = texts[at];
      });
      output.textContent = labels[at];
      slider.setAttribute("aria-valuetext", labels[at]);
    };
    const stop = () => {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      play.setAttribute("aria-label", `Play ${title}`);
    };
    const step = () => {
      slider.value = String(Number(slider.value) + 1);
      show();
      if (slider.value === slider.max) stop();
    };
    slider.addEventListener("input", () => { stop(); show(); });
    play.addEventListener("click", () => {
      if (timer) { stop(); return; }
      if (slider.value === slider.max) { slider.value = "0"; show(); }
      play.textContent = "Pause";
      play.setAttribute("aria-label", `Pause ${title}`);
      timer = setInterval(step, 350);
    });
  }

  const closed = new Set();
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not([open])").forEach((element) => { closed.add(element); element.open = true; });
  });
  addEventListener("afterprint", () => {
    closed.forEach((element) => { element.open = false; });
    closed.clear();
  });
})();
