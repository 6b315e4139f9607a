// How legible the page is now: every visible text's contrast by WCAG 2, on what really lies behind it.
() => {
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const chain = (element) => (element ? [...chain(element.parentElement), element] : []);
  // What is painted where the element is, its own ground included; what is see-through lets its own backdrop through.
  const painted = (element, top) => {
    let shown = rgba(getComputedStyle(document.documentElement).backgroundColor);
    if (shown[3] < 1) shown = over(rgba(getComputedStyle(document.body).backgroundColor), [255, 255, 255, 1]);
    const steps = chain(element);
    const solid = steps.reduce((sum, one) => sum * Number(getComputedStyle(one).opacity), 1);
    for (const one of steps) shown = over(rgba(getComputedStyle(one).backgroundColor), shown);
    if (!top) return shown;
    const ink = rgba(getComputedStyle(element).color);
    return over([ink[0], ink[1], ink[2], ink[3] * solid], shown);
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    if (![...range.getClientRects()].some((box) => box.width > 0 && box.height > 0)) continue;
    const [one, other] = [light(painted(element, true)), light(painted(element, false))];
    found.push({ text: node.data.trim().slice(0, 40), ratio: (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) });
  }
  return found;
}
