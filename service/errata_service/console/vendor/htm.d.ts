// What the console uses of htm.
declare const htm: {
  bind<Element>(make: (type: unknown, props: object | null, ...children: unknown[]) => Element): (strings: TemplateStringsArray, ...values: unknown[]) => Element;
};
export default htm;
