// What the console uses of Preact.
export type Element = unknown;
export function h(type: unknown, props: object | null, ...children: unknown[]): Element;
export function render(element: Element, into: globalThis.Element): void;
export function cloneElement(element: Element, props: object): Element;
export function Fragment(props: { children?: unknown }): Element;
