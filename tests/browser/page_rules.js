/**
 * What every page keeps, as a list of the places where it does not (none: []). Evaluated in the page by
 * accessibility.py. Sources: WCAG 2.2, 1.3.1, 1.4.3, 1.4.4, 1.4.10, 2.3.3, 2.4.2, 2.5.5, 2.5.8, 3.1.1, 4.1.2; HTML, "id".
 */
() => {
  const MIN_CONTRAST = 4.5;
  const MIN_TARGET_PX = 24;
  const MIN_BUTTON_PX = 44; // what one presses to go on
  const found = [];
  const isVisible = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const nameOf = (element) =>
    `${element.localName}${element.id && `#${element.id}`} "${(element.textContent || element.name || "").trim().slice(0, 40)}"`;

  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one main heading");
  if (document.documentElement.scrollWidth > window.innerWidth) found.push(`wider than ${window.innerWidth}px`);

  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) found.push(`twice: #${id}`);

  for (const control of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    const isNamed = control.labels?.length || control.getAttribute("aria-label");
    if (isVisible(control) && !isNamed) found.push(`no label: ${nameOf(control)}`);
  }

  for (const target of document.querySelectorAll("a[href], button, select, summary, input:not([type=hidden])")) {
    if (!isVisible(target)) continue;
    if (!target.labels && !(target.textContent.trim() || target.getAttribute("aria-label"))) {
      found.push(`no words: ${nameOf(target)}`);
    }
    const isBox = ["checkbox", "radio"].includes(target.type) && target.labels.length; // its words can be pressed as well
    const { width, height, right } = (isBox ? target.labels[0] : target).getBoundingClientRect();
    const isOffScreen = right < 0; // the link past the navigation, until it has the focus
    const isInSentence = target.localName === "a" && getComputedStyle(target).display === "inline";
    if (isOffScreen || isInSentence) continue;
    const least = target.matches("button, .button") ? MIN_BUTTON_PX : MIN_TARGET_PX;
    if (Math.min(width, height) < least) found.push(`small target: ${nameOf(target)} ${width}x${height}`);
  }

  const page = document.scrollingElement.getBoundingClientRect();
  for (const element of document.querySelectorAll("main *, header *")) {
    if (!isVisible(element) || element.closest("svg, .skip, pre")) continue; // a table of text is scrolled by itself
    const { overflowX, overflowY, transitionDuration } = getComputedStyle(element);
    const hides = [overflowX, overflowY].some((kind) => kind === "hidden" || kind === "clip");
    const { left, right, width, height } = element.getBoundingClientRect();
    const isForReaders = width <= 1 && height <= 1;
    if (hides && !isForReaders && element.scrollWidth > element.clientWidth + 1) found.push(`cut off: ${nameOf(element)}`);
    if (!element.closest("thead") && (right > page.right + 1 || left < -1)) found.push(`out of the window: ${nameOf(element)}`);
    if (transitionDuration !== "0s") found.push(`moves: ${nameOf(element)}`);
  }
  if (document.getAnimations().length) found.push("something moves");

  const parse = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return { light: [red, green, blue], alpha };
  };
  const groundOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { light, alpha } = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return light;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  const luminance = (light) => {
    const [red, green, blue] = light.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !isVisible(element)) continue;
    if (element.closest("script, noscript, :disabled, option")) continue;
    const [one, other] = [parse(getComputedStyle(element).color).light, groundOf(element)].map(luminance);
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < MIN_CONTRAST) found.push(`contrast ${contrast.toFixed(1)}: ${nameOf(element)}`);
  }
  return found;
}
