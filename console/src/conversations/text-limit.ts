import type { ChannelFilter } from "./filter";

/** The longest text that a platform takes. */
export interface TextLimit {
  limit: number;
  unit: "characters" | "bytes";
}

const LIMITS: Partial<Record<ChannelFilter, TextLimit>> = {
  whatsapp: { limit: 4096, unit: "characters" },
  facebook: { limit: 2000, unit: "characters" },
  instagram: { limit: 1000, unit: "bytes" },
};
const NOTE: TextLimit = { limit: 4096, unit: "characters" };

export function textLimit(channel: ChannelFilter, isNote: boolean): TextLimit {
  return (isNote ? undefined : LIMITS[channel]) ?? NOTE;
}

/** How much may still be written; negative where it is too long. */
export function textLeft(text: string, { limit, unit }: TextLimit): number {
  return limit - (unit === "bytes" ? new TextEncoder().encode(text).length : Array.from(text).length);
}

/** Whether the end is near enough to be told. */
export function isNearLimit(left: number, { limit }: TextLimit): boolean {
  return left < limit / 5;
}
