// What every screen and part is written with: Preact's elements and hooks, and `html` to write elements as they read.
import { h } from "../vendor/preact.js";
import htm from "../vendor/htm.js";

export { Fragment, cloneElement, render } from "../vendor/preact.js";
export { useCallback, useEffect, useId, useMemo, useRef, useState } from "../vendor/preact-hooks.js";

export const html = htm.bind(h);
