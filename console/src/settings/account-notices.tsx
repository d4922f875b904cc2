import type { Integration } from "../api";
import { withoutOverrides } from "../plain-text";
import { text } from "../text";
import { dateAndTime, exactTime } from "../time";

type Notice = Integration["notices"][number];

/** What the provider told of the account itself, the newest first; older news is for who asks. */
export function AccountNotices({ notices: [newest, ...earlier] }: { notices: Notice[] }) {
  if (!newest) return null;
  return (
    <div className="account-notices">
      <h3>{text.settings.notices}</h3>
      <News notice={newest} />
      {earlier.length > 0 && (
        <details>
          <summary>{text.settings.earlierNotices(earlier.length)}</summary>
          <ul>
            {earlier.map((notice) => (
              <li key={`${notice.at} ${notice.kind} ${notice.message}`}>
                <News notice={notice} />
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function News({ notice: { at, message } }: { notice: Notice }) {
  return (
    <p>
      <time dateTime={at} title={exactTime(at)}>
        {dateAndTime(at)}
      </time>{" "}
      {withoutOverrides(message)}
    </p>
  );
}
