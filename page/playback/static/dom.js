// Elements of the player. Text from files reaches the page as text only.

const ICONS = {
  play: "M7 4.5v15l12.5-7.5z",
  pause: "M6.5 4.5h4v15h-4zM13.5 4.5h4v15h-4z",
  skip: "M5 5v14l9-7zM15.5 5h3v14h-3z",
  loop: "M17 2l4 4-4 4V7H7v4H5V5h12zM7 22l-4-4 4-4v3h10v-4h2v6H7z",
  metronome: "M9.5 3h5L19 21H5zM11.1 5 7.5 19h9L15.2 13.6 12 17.1 10.6 15.9 14.6 11.5 12.9 5z",
  volume: "M4 9.5v5h3.5L12 19V5L7.5 9.5zM14.5 8.5a5 5 0 0 1 0 7l1.2 1.2a6.7 6.7 0 0 0 0-9.4z",
};

/** @typedef {keyof typeof ICONS} IconName */

/**
 * Create an element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {{text?: string, parent?: Element, [attribute: string]: string | Element | undefined}} options
 *   `text`, `parent`, and attributes
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, { text = "", parent, ...attributes } = {}) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  if (text) element.textContent = text;
  parent?.append(element);
  return element;
}

/** @param {IconName} name */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Create a button with an icon. @param {Element} parent @param {IconName} name @param {string} label @param {() => void} onClick @param {boolean} showLabel */
export function iconButton(parent, name, label, onClick, showLabel = false) {
  const button = make("button", { type: "button", class: name, title: label, parent });
  button.append(icon(name));
  if (showLabel) make("span", { text: label, parent: button });
  else button.setAttribute("aria-label", label);
  button.addEventListener("click", onClick);
  return button;
}

/** Return seconds as minutes:seconds. @param {number} seconds */
export function minutes(seconds) {
  const whole = Math.max(0, Math.floor(seconds + 1e-6));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
