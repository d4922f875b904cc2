import { useSyncExternalStore } from "react";
import { LOCALE, text } from "./text";

const TICK_MS = 15_000;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

const clock = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(LOCALE, { weekday: "short" });
const dayAndMonth = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short" });
const longDay = new Intl.DateTimeFormat(LOCALE, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const short = new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(LOCALE, { dateStyle: "full", timeStyle: "medium" });

let now = Date.now();
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  const timer = setInterval(() => {
    now = Date.now();
    listener();
  }, TICK_MS);
  listeners.add(listener);
  return () => {
    clearInterval(timer);
    listeners.delete(listener);
  };
}

/** The time, in steps of some seconds: what shows it is brought up to date by itself. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** A day of the calendar, by local time: `2026-11-23`. */
export function dayOf(timestamp: string | number): string {
  const date = new Date(timestamp);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** How long ago, as short as a list has room for. */
export function relativeTime(timestamp: string, now: number): string {
  const at = Date.parse(timestamp);
  const age = now - at;
  if (age < MINUTE_MS) return text.time.now;
  if (age < 60 * MINUTE_MS) return text.time.minutes(Math.floor(age / MINUTE_MS));
  if (dayOf(at) === dayOf(now)) return clock.format(at);
  return age < 6 * DAY_MS ? weekday.format(at) : dayAndMonth.format(at);
}

export function clockTime(timestamp: string | number): string {
  return clock.format(new Date(timestamp));
}

/** A time that has to be understood without the others around it. */
export function dateAndTime(timestamp: string): string {
  return short.format(new Date(timestamp));
}

export function exactTime(timestamp: string | number): string {
  return exact.format(new Date(timestamp));
}

export function dayName(timestamp: string | number, now: number): string {
  const day = dayOf(timestamp);
  if (day === dayOf(now)) return text.time.today;
  if (day === dayOf(now - DAY_MS)) return text.time.yesterday;
  return longDay.format(new Date(timestamp));
}

/** A length of time in hours and minutes. */
export function duration(ms: number): string {
  const minutes = Math.floor(ms / MINUTE_MS);
  return minutes < 1 ? text.time.lessThanAMinute : text.time.hoursAndMinutes(Math.floor(minutes / 60), minutes % 60);
}
