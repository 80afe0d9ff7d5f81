"use strict";
// Draws the timeline of each lecture and the selected window. Text from data is inserted only as text, never as HTML.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const OVERVIEW = { width: 1200, height: 138, wave: [14, 60], confidence: [80, 102], doubt: [105, 109], marks: [120, 136] }; // SVG units
  const ZOOM = { height: 96, wave: [4, 66], confidence: [72, 94] };
  const PIXELS_PER_SECOND = 76; // minimum width of a second in the zoomed window, to leave room for the characters
  const UNSURE = 0.7; // words with a lower confidence are marked
  const JUMP = 10; // number of windows that Page Up and Page Down move by

  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const clips = read("clip-data");
  const views = [];

  function make(name, properties = {}, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  }

  function draw(name, attributes) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function clock(seconds) {
    const whole = Math.floor(seconds);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  }

  const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);
  const isError = (item) => Array.isArray(item);
  const numErrors = (window) => (window.alignment || []).filter(isError).length;
  const numRef = (window) => window.alignment.filter((item) => !isError(item) || item[0] !== "").length;
  const errorRate = (window) => (numRef(window) ? (100 * numErrors(window)) / numRef(window) : 100 * (numErrors(window) > 0));
  const isHan = (text) => /^\p{Script=Han}/u.test(text);

  /** The outline of peaks [from, to) as a closed path of some columns, mirrored around the middle of a band. */
  function wavePath(peaks, from, to, columns, width, [top, bottom]) {
    const middle = (top + bottom) / 2, half = (bottom - top) / 2, heights = [];
    const n = Math.max(1, Math.min(columns, to - from));
    for (let i = 0; i < n; i++) {
      const a = from + Math.floor(((to - from) * i) / n), b = Math.max(a + 1, from + Math.floor(((to - from) * (i + 1)) / n));
      let peak = 0;
      for (let k = a; k < b; k++) peak = Math.max(peak, peaks[k] || 0);
      heights.push(Math.max(0.4, (half * peak) / 255));
    }
    const x = (i) => ((width * (i + 0.5)) / n).toFixed(1);
    const upper = heights.map((h, i) => `${x(i)},${(middle - h).toFixed(1)}`);
    const lower = heights.map((h, i) => `${x(i)},${(middle + h).toFixed(1)}`).reverse();
    return `M${upper.join("L")}L${lower.join("L")}Z`;
  }

  class LectureView {
    constructor(lecture) {
      this.lecture = lecture;
      this.windows = lecture.windows;
      this.peaks = Uint8Array.from(atob(lecture.peaks), (c) => c.charCodeAt(0));
      this.index = -1;
      this.element = make("details", { className: "lecture" }, this.summary());
      this.element.addEventListener("toggle", () => this.element.open && this.open());
    }

    summary() {
      const scored = this.windows.filter((w) => w.alignment);
      const errors = sum(scored, numErrors), refs = sum(scored, numRef);
      const aligned = this.windows.filter((w) => w.confidence !== null), tokens = sum(aligned, (w) => w.num_tokens);
      const facts = [this.lecture.part, clock(this.lecture.duration), `${this.windows.length} windows`];
      if (tokens) facts.push(`confidence ${(sum(aligned, (w) => w.confidence * w.num_tokens) / tokens).toFixed(3)}`);
      if (refs) facts.push(`MER ${((100 * errors) / refs).toFixed(2)} %`);
      const numClips = this.windows.filter((w) => w.id in clips).length;
      facts.push(numClips ? `${numClips} with audio` : "no audio");
      return make("summary", {}, make("b", { textContent: this.lecture.id }), ...facts.flatMap((textContent) => [" ", make("span", { textContent })]));
    }

    /** Builds the content when the lecture is opened for the first time. */
    open() {
      if (this.body) return;
      this.audio = make("audio", { controls: true, preload: "metadata" });
      this.audio.setAttribute("aria-label", "audio of the window");
      this.command = make("code");
      this.previous = this.button("‹ Previous", () => this.choose(this.index - 1));
      this.next = this.button("Next ›", () => this.choose(this.index + 1));
      this.nextError = this.button("Next with errors", () => this.choose(this.errorAfter(this.index)));
      this.facts = make("p", { className: "facts" });
      this.facts.setAttribute("aria-live", "polite");
      this.zoom = make("div", { className: "zoom", tabIndex: 0 });
      this.zoom.setAttribute("role", "region");
      this.zoom.setAttribute("aria-label", "the window's waveform and words");
      this.texts = make("dl", { className: "texts" });
      const keys = [["←", "→", "previous or next window"], ["Home", "End", "first or last window"], ["Enter", "play or pause"], ["E", "next window with errors"]];
      const hint = make("p", { className: "hint" }, "Keys on the timeline: ");
      for (const [...names] of keys) {
        const effect = names.pop();
        hint.append(...names.map((textContent) => make("kbd", { textContent })), ` ${effect}  `);
      }
      this.body = make("div", { className: "lecture-body" },
        this.overview(), this.facts,
        make("div", { className: "controls" }, this.previous, this.next, this.nextError, this.audio, this.command),
        this.zoom, this.texts, hint);
      this.element.append(this.body);
      this.audio.addEventListener("play", () => this.follow());
      if (this.index < 0) this.choose(Math.max(0, this.errorAfter(-1)));
    }

    button(textContent, action) {
      const element = make("button", { type: "button", textContent });
      element.addEventListener("click", action);
      return element;
    }

    errorAfter(index) {
      return this.windows.findIndex((w, i) => i > index && numErrors(w) > 0);
    }

    overview() {
      const { width, height, wave, confidence, doubt, marks } = OVERVIEW, seconds = this.lecture.duration;
      const x = (t) => (width * t) / seconds, y = (c) => confidence[1] - (confidence[1] - confidence[0]) * c;
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
      const worst = Math.max(10, ...this.windows.filter((w) => w.alignment).map(errorRate));
      this.windows.forEach((w, i) => {
        svg.append(draw("rect", { class: `band${i % 2 ? " odd" : ""}`, x: x(w.start), width: x(w.duration), y: 0, height }));
      });
      for (const value of [0, 1]) svg.append(draw("line", { class: "rule", x1: 0, x2: width, y1: y(value), y2: y(value) }));
      svg.append(draw("path", { class: "wave", d: wavePath(this.peaks, 0, this.peaks.length, width, width, wave), "pointer-events": "none" }));
      for (const [start, end, c] of this.lecture.stretches) {
        svg.append(draw("line", { class: "stretch", x1: x(start), x2: x(end), y1: y(c), y2: y(c) }));
      }
      for (const [start, end] of this.lecture.doubtful) { // sentence pairs that stage 7 left out
        svg.append(draw("rect", { class: "doubt", x: x(start), width: Math.max(1, x(end - start)), y: doubt[0], height: doubt[1] - doubt[0] }));
      }
      for (const w of this.windows) {
        if (!numErrors(w)) continue;
        const barHeight = ((marks[1] - marks[0]) * errorRate(w)) / worst;
        svg.append(draw("rect", { class: "errors", x: x(w.start), width: x(w.duration), y: marks[1] - barHeight, height: barHeight }));
      }
      this.chosen = draw("rect", { class: "chosen", y: 1, height: height - 2 });
      svg.append(this.chosen);
      const names = [["waveform", 2], [this.lecture.doubtful.length ? "confidence; below it, where no sentence pair is sure" : "confidence", confidence[0] - 15], ...(this.windows.some((w) => w.alignment) ? [["errors", marks[0] - 13]] : [])];
      this.slider = make("div", { className: "overview", tabIndex: 0 }, svg,
        ...names.map(([textContent, top]) => make("span", { className: "track-name", textContent, style: `top:${top}px` })));
      const label = { role: "slider", "aria-label": `window of ${this.lecture.id}`, "aria-valuemin": 1, "aria-valuemax": this.windows.length };
      for (const [key, value] of Object.entries(label)) this.slider.setAttribute(key, value);
      this.slider.addEventListener("click", (event) => {
        const box = svg.getBoundingClientRect();
        this.choose(this.windowAt((seconds * (event.clientX - box.left)) / box.width), true);
      });
      this.slider.addEventListener("keydown", (event) => this.onKey(event));
      return make("div", {}, this.slider, this.timeLabels());
    }

    timeLabels() {
      const seconds = this.lecture.duration;
      const step = [10, 30, 60, 120, 300, 600, 1200].find((s) => seconds / s <= 9) || 3600;
      const row = make("div", { className: "times" });
      row.setAttribute("aria-hidden", "true");
      for (let t = 0; t < 0.98 * seconds; t += step) row.append(make("span", { textContent: clock(t), style: `left:${(100 * t) / seconds}%` }));
      return row;
    }

    /** Index of the window at a time, or of the nearest one. */
    windowAt(time) {
      const distance = (w) => Math.max(w.start - time, time - w.start - w.duration, 0);
      return this.windows.reduce((best, w, i) => (distance(w) < distance(this.windows[best]) ? i : best), 0);
    }

    onKey(event) {
      const last = this.windows.length - 1, current = this.index;
      const targets = { ArrowLeft: current - 1, ArrowDown: current - 1, ArrowRight: current + 1, ArrowUp: current + 1, Home: 0, End: last,
        PageDown: Math.max(0, current - JUMP), PageUp: Math.min(last, current + JUMP), e: this.errorAfter(current) };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Enter" || event.key === " ") this.toggle();
      else if (event.key in targets) this.choose(targets[event.key]);
      else return;
      event.preventDefault();
    }

    toggle() {
      if (!this.audio.src) return;
      if (this.audio.paused) this.play();
      else this.audio.pause();
    }

    play() {
      for (const view of views) if (view !== this && view.audio) view.audio.pause();
      this.audio.play().catch(() => {}); // stopped by a newer selection or blocked by the browser: the controls still work
    }

    choose(index, andPlay = false) {
      const w = this.windows[index];
      if (!w) return;
      this.index = index;
      const scale = OVERVIEW.width / this.lecture.duration;
      this.chosen.setAttribute("x", w.start * scale);
      this.chosen.setAttribute("width", w.duration * scale);
      const facts = [`${clock(w.start)}–${clock(w.start + w.duration)}`, `${w.duration.toFixed(1)} s`,
        `${(w.num_tokens / w.duration).toFixed(1)} tokens/s`];
      if (w.confidence !== null) facts.push(`confidence ${w.confidence.toFixed(3)}`);
      if (w.alignment) facts.push(`${numErrors(w) || "no"} error${numErrors(w) === 1 ? "" : "s"}, MER ${errorRate(w).toFixed(1)} %`);
      this.facts.replaceChildren(make("b", { textContent: w.id }), facts.join(" · "));
      this.slider.setAttribute("aria-valuenow", index + 1);
      this.slider.setAttribute("aria-valuetext", `${w.id}, ${facts.join(", ")}`);
      this.previous.disabled = index === 0;
      this.next.disabled = index === this.windows.length - 1;
      this.nextError.disabled = this.errorAfter(index) < 0;
      this.load(w);
      this.drawZoom(w);
      this.writeTexts(w);
      if (andPlay && this.audio.src) this.play();
    }

    load(w) {
      this.audio.pause();
      const clip = clips[w.id];
      this.audio.hidden = !clip;
      this.command.hidden = Boolean(clip);
      if (clip) this.audio.src = `data:audio/mpeg;base64,${clip}`;
      else this.audio.removeAttribute("src");
      this.command.textContent = this.lecture.audio
        ? `ffplay -autoexit -nodisp -ss ${w.start} -t ${w.duration} '${this.lecture.audio.replaceAll("'", "'\\''")}'` : "the recording is missing";
    }

    drawZoom(w) {
      const { height, wave, confidence } = ZOOM, width = Math.max(this.body.clientWidth - 34, w.duration * PIXELS_PER_SECOND);
      const x = (t) => (width * t) / w.duration, rate = this.lecture.rate;
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
      const boxes = w.words.map(([, start, end], i) => draw("rect", { class: `word${i % 2 ? " odd" : ""}`, x: x(start), width: x(end - start), y: 0, height }));
      svg.append(...boxes);
      const first = Math.round(w.start * rate), count = Math.round(w.duration * rate);
      svg.append(draw("path", { class: "wave", d: wavePath(this.peaks, first, first + count, count, width, wave) }));
      for (const [, start, end, score] of w.words) {
        const barHeight = (confidence[1] - confidence[0]) * (score ?? 0);
        svg.append(draw("rect", { class: `sure${score !== null && score < UNSURE ? " unsure" : ""}`, x: x(start), width: Math.max(1, x(end - start) - 1), y: confidence[1] - barHeight, height: barHeight }));
      }
      this.playhead = draw("line", { class: "playhead", y1: 0, y2: height, x1: -1, x2: -1 });
      svg.append(this.playhead);
      const lanes = { en: make("div", { className: "lane en" }), zh: make("div", { className: "lane zh", lang: "zh" }) };
      const labels = w.words.map(([text]) => make("span", { textContent: text }));
      w.words.forEach(([text], i) => lanes[isHan(text) ? "zh" : "en"].append(labels[i]));
      const inner = make("div", { className: "zoom-inner", style: `width:${width}px` }, lanes.en, lanes.zh, svg,
        make("span", { className: "track-name", textContent: "confidence", style: "bottom:14px" }));
      inner.setAttribute("lang", "zh");
      this.zoom.replaceChildren(inner);
      this.zoom.scrollLeft = 0;
      this.placeLabels(w, labels, x);
      this.marks = w.words.map(([, start, end], i) => ({ start, end, elements: [boxes[i], labels[i]] }));
      inner.addEventListener("click", (event) => this.seek((w.duration * (event.clientX - inner.getBoundingClientRect().left)) / width));
    }

    /** Centres each label on its word, or moves it right if it would overlap the label before it in its lane. */
    placeLabels(w, labels, x) {
      const right = new Map(), widths = labels.map((label) => label.offsetWidth);
      w.words.forEach(([, start, end], i) => {
        const lane = labels[i].parentElement;
        const left = Math.max(x((start + end) / 2) - widths[i] / 2, right.get(lane) ?? 0);
        labels[i].style.left = `${left}px`;
        right.set(lane, left + widths[i] + (lane.className.includes("en") ? 5 : 0));
      });
    }

    seek(time) {
      if (!this.audio.src) return;
      this.audio.currentTime = Math.max(0, time);
      this.play();
    }

    /** Moves the playhead and marks the current word while the audio plays. */
    follow() {
      const w = this.windows[this.index], width = this.zoom.firstChild.clientWidth, time = this.audio.currentTime;
      const x = (width * time) / w.duration;
      this.playhead.setAttribute("x1", x);
      this.playhead.setAttribute("x2", x);
      for (const { start, end, elements } of this.marks) {
        for (const element of elements) element.classList.toggle("now", start <= time && time < end);
      }
      const view = this.zoom;
      if (x < view.scrollLeft || x > view.scrollLeft + view.clientWidth - 40) view.scrollLeft = x - 40;
      if (!this.audio.paused) requestAnimationFrame(() => this.follow());
    }

    writeTexts(w) {
      const rows = [];
      const row = (name, ...content) => rows.push(make("dt", { textContent: name }), make("dd", {}, ...content));
      row("Reference", w.words.length ? this.reference(w) : make("div", { className: "text", lang: "zh", textContent: w.text }));
      if (w.alignment) row("Recognised", this.recognised(w.alignment));
      if (w.pairs.length) {
        row("Translation", ...w.pairs.map(([source, target, , reason]) => pair(source, target, reason && `not in the bitext: ${reason}`)));
        if (w.pairs.some((p) => p[2])) row("Translator, from the reference", ...w.pairs.map((p) => pair("", p[2], p[2] === p[1] ? "same as the reference" : "")));
      }
      if (w.cascade.length) row("Cascade, from the recognised text", ...w.cascade.map(([start, , source, target]) => pair(`${clock(start)}  ${source}`, target, "")));
      this.texts.replaceChildren(...rows);
    }

    reference(w) {
      const line = make("div", { className: "text", lang: "zh" });
      w.words.forEach(([text, start, , score], i) => {
        const word = make("span", { textContent: text, title: score === null ? "" : `confidence ${score.toFixed(2)}` });
        if (score !== null && score < UNSURE) word.className = "unsure";
        word.addEventListener("click", () => this.seek(start));
        this.marks[i].elements.push(word);
        line.append(word, gap(text, w.words[i + 1]?.[0]));
      });
      return line;
    }

    recognised(alignment) {
      const substituted = alignment.some((item) => isError(item) && item[0] && item[1]);
      const line = make("div", { className: substituted ? "text ruled" : "text", lang: "zh" });
      alignment.forEach((item, i) => {
        const [ref, hyp] = isError(item) ? item : [item, item], following = alignment[i + 1];
        if (ref === hyp) line.append(ref);
        else if (!hyp) line.append(make("del", { textContent: ref, title: "deleted" }));
        else if (!ref) line.append(make("ins", { textContent: hyp, title: "inserted" }));
        else line.append(make("ruby", { className: "sub", title: `${ref} was recognised as ${hyp}` }, hyp, make("rt", { textContent: ref })));
        line.append(gap(hyp || ref, isError(following) ? following[1] || following[0] : following));
      });
      const key = make("p", { className: "key" }, make("b", { className: "sub", textContent: "substituted" }), " (with the reference above) · ",
        make("del", { textContent: "deleted" }), " · ", make("ins", { textContent: "inserted" }));
      return make("div", {}, line, ...(alignment.some(isError) ? [key] : []));
    }
  }

  /** The gap between two tokens: a possible line break if both are Chinese, otherwise a space. */
  function gap(before, after) {
    if (after === undefined) return "";
    return isHan(before) && isHan(after) ? "\u200b" : " ";
  }

  function pair(source, target, tag) {
    const element = make("div", { className: "pair" });
    if (source) element.append(make("p", { className: "source", lang: "zh", textContent: source.replace(/(\p{Script=Han}) (?=\p{Script=Han})/gu, "$1") }));
    const line = make("p", {}, target);
    if (tag) line.append(" ", make("span", { className: "tag", textContent: tag }));
    element.append(line);
    return element;
  }

  /** Opens the window in the URL, such as #w:lecture08-0003. */
  function openAddressed() {
    if (!location.hash.startsWith("#w:")) return;
    const id = decodeURIComponent(location.hash.slice(3));
    for (const view of views) {
      const index = view.windows.findIndex((w) => w.id === id);
      if (index < 0) continue;
      view.element.open = true;
      view.open();
      view.choose(index);
      view.element.scrollIntoView();
      view.slider.focus({ preventScroll: true });
    }
  }

  function start() {
    const list = document.getElementById("lecture-list");
    if (!list) return;
    for (const lecture of read("lecture-data")) {
      const view = new LectureView(lecture);
      views.push(view);
      list.append(view.element);
    }
    const first = views.find((view) => view.lecture.part === "test") || views[0];
    if (first) first.element.open = true;
    addEventListener("hashchange", openAddressed);
    let timer = 0;
    addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        for (const view of views) if (view.body && view.element.open && view.audio.paused) view.choose(view.index);
      }, 200);
    });
    openAddressed();
  }

  start();
})();
