// A question that is asked before something grave is done: what will change, and why it is to.
import { pulse } from "../session.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { Fault } from "./words.js";

/** A dialog over the page, which Escape closes and which keeps the focus within. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const element = dialog.current;
    element.showModal();
    return () => element.close();
  }, []);
  return html`<dialog ref=${dialog} aria-label=${title} onCancel=${(event) => (event.preventDefault(), onClose?.())}>${children}</dialog>`;
}

/**
 * Ask whether something is to be done. `children` say what it will change; `onYes` gets the reason and may return a
 * promise; where that fails, the dialog stays and says why.
 */
export function Confirm({ title, yes, grave = false, asksWhy = true, onYes, onClose, children }) {
  const [why, setWhy] = useState("");
  const [state, setState] = useState({ busy: false, problem: null });
  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true, problem: null });
    try {
      await onYes(why.trim());
      pulse(); // the head of the page says at once what serves from now on
      onClose();
    } catch (problem) {
      setState({ busy: false, problem });
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${submit}>
      <h2>${title}</h2>
      <div class="stack">${children}</div>
      ${asksWhy && html`<label class="field"><span>Why? <span class="soft">(kept with it, for whoever looks later)</span></span>
        <textarea rows="2" maxlength="2000" value=${why} onInput=${(event) => setWhy(event.target.value)}></textarea></label>`}
      <${Fault} problem=${state.problem} />
      <div class="row">
        <button type="submit" class=${grave ? "grave" : "first"} disabled=${state.busy}>${state.busy ? "Doing it …" : yes}</button>
        <button type="button" onClick=${onClose}>Leave it</button>
      </div>
    </form>
  <//>`;
}
