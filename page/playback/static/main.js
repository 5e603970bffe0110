// Entry point: Gradio calls it with the component's element, properties and functions.

import { shared, unlock } from "./audio_context.js";
import { Player } from "./player.js";

/** @import { Server, Trigger, Update } from "./types.d.ts" */

/**
 * Create the player of a component.
 * @param {HTMLElement} element
 * @param {{value: Update | null, player_id: string, label: string, armed_by: string[]}} props
 * @param {{trigger: Trigger, server: Server, watch: (name: string, onChange: () => void) => void}} gradio
 */
export function mount(element, props, { trigger, server, watch }) {
  if (!shared().listening) {
    shared().listening = true;
    document.addEventListener("click", buttonPressed, { capture: true });
  }
  const { player_id: id, label, armed_by: armedBy } = props;
  const player = new Player(element, { id, label, armedBy, trigger, server });
  watch("value", () => player.receive(props.value));
  player.receive(props.value);
}

/** Any button unlocks the audio; some also start a player. @param {Event} event */
function buttonPressed(event) {
  const button = event.target instanceof Element && event.target.closest("button");
  if (!button) return;
  unlock();
  for (const each of shared().players.values()) if (each.armedBy.includes(button.id)) each.arm();
}
