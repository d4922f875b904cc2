/** The country codes of one and of two digits; all others have three. https://www.itu.int/pub/T-SP-E.164D */
const COUNTRY_CODE = /^(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;

/**
 * A number as people write it, from its digits: `+49 171 392 0012`. Where the area code ends differs from country to country, so the
 * groups are for the eye alone. What is no number stays as it is.
 */
export function phoneNumber(digits: string): string {
  const plain = digits.replace(/^\+/, "");
  if (!/^\d{7,15}$/.test(plain)) return digits;
  const country = COUNTRY_CODE.exec(plain)?.[0] ?? plain.slice(0, 3);
  const groups = plain.slice(country.length).match(/\d{4}$|\d{1,3}/g) ?? [];
  return `+${[country, ...groups].join(" ")}`;
}
