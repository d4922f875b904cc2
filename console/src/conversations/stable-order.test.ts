// @vitest-environment jsdom
import { act, cleanup, renderHook } from "@testing-library/react";
import type { FocusEvent, PointerEvent } from "react";
import { afterEach, describe, expect, it } from "vitest";
import type { Conversation } from "../api";
import { conversation } from "../testing/examples";
import { follow, shownAs, useStableOrder, type Shown } from "./stable-order";

afterEach(cleanup);

const { lastMessage } = conversation();

/** A conversation whose newest message has this id. */
function row(id: string, message = "first", sender: "customer" | "operator" = "customer"): Conversation {
  return conversation({ id, lastMessage: { ...lastMessage, id: `${id}-${message}`, sender } });
}

const [ada, grace, joan] = [row("ada"), row("grace"), row("joan")];
const ids = (shown: Shown | undefined) => shown?.conversations.map(({ id }) => id);

describe("a list that may not move", () => {
  const shown = shownAs([ada, grace]);

  it("keeps who writes in their place, with what they say, and counts them", () => {
    const written = row("grace", "second");
    const followed = follow(shown, [written, ada]);

    expect(followed.conversations).toEqual([ada, written]);
    expect(followed.newer).toBe(1);
  });

  it("counts nobody who stands where they belong, nor an answer of ours", () => {
    expect(follow(shown, [row("ada", "second"), grace]).newer).toBe(0);

    const answered = follow(shown, [row("grace", "second", "operator"), ada]);
    expect(ids(answered)).toEqual(["ada", "grace"]);
    expect(answered.newer).toBe(0);
  });

  it("lets those who are new wait, and those follow who were loaded below", () => {
    const followed = follow(shown, [row("new"), ada, row("between"), grace, joan]);

    expect(ids(followed)).toEqual(["ada", "grace", "joan"]);
    expect(followed.newer).toBe(2);
  });

  it("shows who is new below, once everybody shown has written since", () => {
    const followed = follow(shown, [row("grace", "second"), row("ada", "second"), row("new")]);

    expect(ids(followed)).toEqual(["ada", "grace", "new"]);
    expect(followed.newer).toBe(2);
  });

  it("keeps in its place who has left, as they were last, until they are back", () => {
    const answered = row("ada", "second", "operator");
    const left = follow(follow(shown, [answered, grace]), [grace]);

    expect(left.conversations).toEqual([answered, grace]);
    expect([...left.gone]).toEqual(["ada"]);
    expect(follow(left, [ada, grace]).gone.size).toBe(0);
  });

  it("shows everything, where nothing was", () => {
    expect(ids(follow(shownAs([]), [ada, grace]))).toEqual(["ada", "grace"]);
  });
});

describe("the order of the list", () => {
  const pointer = (pointerType: string) => ({ pointerType }) as PointerEvent;
  const list = () => renderHook(({ live }) => useStableOrder(live), { initialProps: { live: [ada, grace] } });

  it("holds while the pointer rests in the list, and follows once it has left", () => {
    const { result, rerender } = list();
    act(() => result.current.handlers.onPointerEnter(pointer("mouse")));
    rerender({ live: [joan, grace, ada] });
    expect(ids(result.current.shown)).toEqual(["ada", "grace"]);

    act(() => result.current.handlers.onPointerLeave());
    expect(ids(result.current.shown)).toEqual(["joan", "grace", "ada"]);
  });

  it("holds while the focus is in the list, wherever it goes there", () => {
    const { result, rerender } = list();
    const currentTarget = document.createElement("section");
    const inside = currentTarget.appendChild(document.createElement("a"));
    act(() => result.current.handlers.onFocus());
    act(() => result.current.handlers.onBlur({ currentTarget, relatedTarget: inside } as unknown as FocusEvent));
    rerender({ live: [grace, ada] });
    expect(ids(result.current.shown)).toEqual(["ada", "grace"]);

    act(() => result.current.handlers.onBlur({ currentTarget, relatedTarget: null } as unknown as FocusEvent));
    expect(ids(result.current.shown)).toEqual(["grace", "ada"]);
  });

  it("is brought up to date when that is asked for, and holds again", () => {
    const { result, rerender } = list();
    act(() => result.current.handlers.onPointerEnter(pointer("mouse")));
    rerender({ live: [joan, ada, grace] });
    expect(result.current.shown?.newer).toBe(1);

    act(() => result.current.release());
    expect(ids(result.current.shown)).toEqual(["joan", "ada", "grace"]);
    rerender({ live: [grace, joan, ada] });
    expect(ids(result.current.shown)).toEqual(["joan", "ada", "grace"]);
  });

  it("is not held by a finger, which points at nothing any more", () => {
    const { result, rerender } = list();
    act(() => result.current.handlers.onPointerEnter(pointer("touch")));
    rerender({ live: [grace, ada] });
    expect(ids(result.current.shown)).toEqual(["grace", "ada"]);
  });
});
