import { expect, it } from "vitest";
import { filterOf, searchOf, viewOf, withChannel, withView } from "./filter";

it.each([
  "",
  "?channel=whatsapp",
  "?channel=instagram&status=open",
  "?unread=true",
  "?assignedTo=me&label=vip",
  "?problem=true",
])("the address %s is read and written the same", (search) => {
  expect(searchOf(filterOf(new URLSearchParams(search)))).toBe(search);
});

it("an address with values that are not known lists everything", () => {
  expect(filterOf(new URLSearchParams("?channel=fax&status=gone&unread=perhaps"))).toEqual({});
});

it("a channel and a view are chosen one by one", () => {
  const filter = withView(withChannel({}, "whatsapp"), "mine");
  expect(filter).toEqual({ channel: "whatsapp", assignedTo: "me" });
  expect(viewOf(filter)).toBe("mine");
  expect(withView(filter, null)).toEqual({ channel: "whatsapp" });
  expect(withChannel(filter, null)).toEqual({ assignedTo: "me" });
  expect(withChannel({ problem: true, label: "vip" }, "phone")).toEqual({
    channel: "phone",
    problem: true,
    label: "vip",
  });
  expect(viewOf({ channel: "phone", problem: true })).toBe("problems");
});
