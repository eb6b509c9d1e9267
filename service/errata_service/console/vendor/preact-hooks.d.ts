// What the console uses of Preact's hooks.
export function useState<T>(initial: T | (() => T)): [T, (next: T | ((now: T) => T)) => void];
export function useEffect(effect: () => void | (() => void), inputs?: readonly unknown[]): void;
export function useMemo<T>(make: () => T, inputs: readonly unknown[]): T;
export function useCallback<F extends Function>(act: F, inputs: readonly unknown[]): F;
export function useRef<T>(initial: T): { current: T };
export function useId(): string;
