import { useSyncExternalStore, type KeyboardEvent } from "react";

/** What a key press has as code while an input method takes it; the only sign of it in Safari, for the Enter that confirms. */
const TAKEN_BY_INPUT_METHOD = 229;

/** Whether an input method composes a character with this key: then it is not for us, whichever key it is. */
export function isComposing({ nativeEvent }: KeyboardEvent): boolean {
  // eslint-disable-next-line @typescript-eslint/no-deprecated -- there is no other sign of it in Safari
  return nativeEvent.isComposing || nativeEvent.keyCode === TAKEN_BY_INPUT_METHOD;
}

/** Whether this is Esc, and for us. */
export function isEscape(event: KeyboardEvent): boolean {
  return event.key === "Escape" && !isComposing(event);
}

/** Where fingers are what one points with, the keyboard is one on the screen: its Enter has no Shift beside it. */
const TOUCH = "(pointer: coarse)";

export function isTouch(): boolean {
  return window.matchMedia(TOUCH).matches;
}

export function useIsTouch(): boolean {
  return useSyncExternalStore((listener) => {
    const query = window.matchMedia(TOUCH);
    query.addEventListener("change", listener);
    return () => query.removeEventListener("change", listener);
  }, isTouch);
}
