import type { Message, MessageStatus, Platform } from "./api";
import type { ChangeRequest } from "./changes";
import type { ChannelFilter, View } from "./conversations/filter";
import type { Waiting } from "./conversations/next-step";
import type { Role } from "./session";
import type { Standing, Trouble } from "./settings/standing";

/** The language of everything below; dates and numbers follow it. */
export const LOCALE = "en-GB";

const plural = (count: number, one: string, many: string) => `${count} ${count === 1 ? one : many}`;

const PLATFORM: Record<Platform, string> = { whatsapp: "WhatsApp", instagram: "Instagram", facebook: "Facebook" };

/** Everything that a person reads in the console. */
export const text = {
  product: "KepleroAI",
  skipToContent: "Skip to content",
  loading: "Loading…",
  tryAgain: "Try again",
  cancel: "Cancel",
  close: "Close",
  platform: PLATFORM,

  errors: {
    noAnswer: "No answer: check your connection.",
    gateway: (status: number) =>
      status === 401
        ? "Your session has ended: sign in again."
        : status === 429
          ? "Too many requests at once: wait a moment."
          : `The service cannot answer now (${status}): try again in a moment.`,
    unexpected: "Something went wrong in this page: reload it.",
    config:
      "The console cannot read its configuration. Check that it is served together with config.json, then reload.",
    offline: "You are offline. What you see may be old; it is brought up to date as soon as the connection is back.",
    unreachable:
      "The service cannot be reached. What you see may be old; it is brought up to date as soon as there is an answer.",
    pageMissing: "There is no such page.",
    toConversations: "Go to the conversations",
  },

  signIn: {
    title: "Sign in",
    lead: "Answer your customers on WhatsApp, Instagram, Facebook and your website, in one place.",
    button: "Sign in",
    leading: "Leading you to the sign-in page…",
    expired:
      "Your session has ended. Sign in again to go on where you were; what you had begun to write is still there.",
    failed: "That did not work: the sign-in was interrupted, or the sign-in service cannot be reached. Try again.",
    noOrganization:
      "Your account belongs to no organization. Ask whoever runs this service to add you to one, then sign in again.",
    noRole: "Your account has no role that may read conversations. Ask an admin of your organization.",
  },

  account: {
    label: "Your account",
    signOut: "Sign out",
    role: (role: Role | null) =>
      role === "admin" ? "Admin" : role === "operator" ? "Operator" : role === "service" ? "Service" : "No role",
  },

  nav: {
    label: "Main",
    menu: "Menu",
    closeMenu: "Close menu",
    channels: "Channels",
    views: "Conversations",
    settings: "Settings",
    socials: "Socials",
    channel: (channel: ChannelFilter | null) =>
      channel === null
        ? "All"
        : { website: "Chatbot/Website", phone: "Phone/Call", social: "Instagram and Facebook", ...PLATFORM }[channel],
    view: {
      open: "Open",
      unread: "Unread",
      mine: "Mine",
      problems: "Problems",
      closed: "Closed",
    } satisfies Record<View, string>,
    problemCount: (count: number) => (count >= 99 ? "99+" : String(count)),
  },

  list: {
    title: "Conversations",
    label: "Conversations",
    unread: (count: number) => `${count >= 99 ? "99+" : count} unread`,
    closed: "Closed",
    trouble: {
      error: (platform: string) => `${platform} is out of order and has to be connected again.`,
      blocked: (platform: string) => `${platform} cannot send now.`,
      elsewhere: (platform: string) => `What customers write on ${platform} does not come in.`,
    } satisfies Record<Trouble, (platform: string) => string>,
    troubleForOperators: "Ask an admin of your organization to look at Settings > Socials.",
    newer: (count: number) => `${count} new`,
    /** Why a row no longer belongs into the view in which it still stands. */
    done: {
      open: "Closed",
      unread: "Read",
      mine: "Not yours",
      problems: "Settled",
      closed: "Open again",
      answered: "Answered",
      other: "No longer here",
    } satisfies Record<View | "answered" | "other", string>,
    dismiss: "Dismiss",
    dismissNamed: (name: string) => `Dismiss the problem with ${name}`,
    moreProblems: (count: number) => `and ${count} more`,
    closeNotice: "Close the notice",
    dismissed: "Dismissed: it stays in the conversation, and is no longer among the problems.",
    problem: { failed: "Failed", unknown: "Not known", unconfirmed: "Not confirmed" },
    /** Of another message than the one that the row shows. */
    earlierProblem: { failed: "Earlier: failed", unknown: "Earlier: not known", unconfirmed: "Earlier: not confirmed" },
    team: "Team",
    automatic: "Chatbot",
    loadingMore: "Loading more conversations…",
    moreFailed: "The rest could not be loaded.",
    empty: {
      title: "No conversations yet",
      connected: "As soon as a customer writes to one of your accounts, the conversation appears here.",
      connect: "Connect an account first; then everything that customers write appears here.",
      connectAction: "Connect an account",
      broken: "Nothing can come in now: the accounts that are connected are out of order.",
      brokenAction: "Look at the accounts",
      view: {
        open: { title: "Nothing is open", hint: "Every conversation here is closed." },
        unread: { title: "Everything is read", hint: "What customers write next appears here." },
        mine: { title: "You have none", hint: "Conversations that are assigned to you appear here." },
        problems: { title: "No problems", hint: "No message has failed here, and none is waiting to be confirmed." },
        closed: { title: "Nothing is closed", hint: "What you close appears here." },
      } satisfies Record<View, { title: string; hint: string }>,
      filtered: { title: "Nothing here", hint: "No conversation matches what you have chosen." },
      showAll: "Show all conversations",
    },
  },

  thread: {
    label: "Messages",
    none: "Choose a conversation",
    noneHint: "Choose one from the list: with the arrow keys and Enter, or by clicking.",
    offline: "You are offline",
    offlineHint: "This conversation has not been opened here yet: it shows as soon as the connection is back.",
    missing: "There is no such conversation",
    missingHint: "The link may be wrong, or lead to another organization's conversation.",
    back: "Back to the list",
    details: "Customer",
    loadingOlder: "Loading older messages…",
    olderFailed: "Older messages could not be loaded.",
    start: "This is the beginning of the conversation.",
    newMessages: "New messages",
    jump: "To the newest message",
    jumpNew: (count: number) => plural(count, "new message", "new messages"),
    unreadAbove: (count: number | null) => (count === null ? "More unread" : `${count} more unread`),
    empty: "No messages yet.",
    unsent: "This message was taken back.",
    edited: "Edited",
    forwarded: "Forwarded",
    reply: "Reply",
    note: "Internal note",
    noteHint: "Only your team sees this",
    earlier: "An earlier message",
    by: (message: Pick<Message, "sender" | "operatorId">, me: string) =>
      message.sender === "operator"
        ? message.operatorId === me
          ? "You"
          : (message.operatorId ?? "Answered elsewhere")
        : { customer: "Customer", ai: "Chatbot", system: "System" }[message.sender],
    reaction: (by: "customer" | "business") => (by === "customer" ? "The customer" : "Your side"),
    status: {
      sending: "Sending…",
      unknown: "Not known yet",
      unconfirmed: "Not confirmed",
      assumed: "Assumed to have arrived",
      accepted: "Accepted",
      sent: "Sent",
      failed: "Failed",
      delivered: "Delivered",
      read: "Read",
    } satisfies Record<MessageStatus, string>,
    unknownHint:
      "The connection broke while this was sent: it may have arrived. Wait two minutes for its status; do not send it again yet.",
    unconfirmedHint: "Nobody has confirmed that this was sent. Sent again, it may arrive twice.",
    notSent: "Not sent.",
    notDelivered: "Sent, but not delivered.",
    failedWithoutReason: "Nobody says why.",
    providerSays: (title: string, code: string, details = "") =>
      `The provider says: ${title.replace(`(#${code}) `, "")} (${code}) ${details}`.trim(),
    /** What has to come before it can be sent again. */
    wait: {
      later: () => "Sent again now, it would fail again: wait a day.",
      customer: () => "It can be sent again once the customer has written.",
      connection: (isAdmin: boolean) =>
        isAdmin
          ? "Connect the channel again, or test it; then this can be sent again."
          : "Ask an admin of your organization to connect the channel again; then this can be sent again.",
      account: (isAdmin: boolean) =>
        isAdmin
          ? "Settle this with the provider and test the channel; then this can be sent again."
          : "Ask an admin of your organization to settle this with the provider; then this can be sent again.",
    } satisfies Record<Waiting, (isAdmin: boolean) => string>,
    toSocials: "Open Settings > Socials",
    sendAgain: "Send again",
    sendAgainTwice: "Send again (may arrive twice)",
    editAndSendAgain: "Edit and send again",
    sendingAgain: "Sending again…",
    sentAgain: "Sent again: show it",
    itArrived: "It arrived",
    assumedBy: (by: string, me: string) => (by === me ? "You say that it arrived" : `${by} says that it arrived`),
    dismissTitle: "Takes this conversation out of the problems; the message stays here",
  },

  outgoing: {
    trying: "No answer yet; trying again…",
    offline: "You are offline: this goes out as soon as the connection is back.",
    unanswered: "Not known whether this was sent. Trying again is safe: the customer gets it once.",
    expired:
      "It can no longer be found out whether this was sent. Look through the conversation before you write it again.",
    refused: (problem: string) => `Not sent. ${problem}`,
    edit: "Edit",
    discard: "Discard",
  },

  content: {
    image: "Photo",
    video: "Video",
    audio: "Audio",
    voice: "Voice message",
    document: "Document",
    sticker: "Sticker",
    animatedSticker: "Animated sticker",
    notShown: (platform: string) => `Kept by ${platform}; it cannot be opened here yet.`,
    provider: "the provider",
    location: "Location",
    openMap: "Open on a map",
    contacts: (count: number) => plural(count, "contact", "contacts"),
    unnamed: "Without a name",
    interactive: (kind: string) =>
      ({
        button_reply: "Chose a button",
        list_reply: "Chose from a list",
        nfm_reply: "Filled in a form",
        call_permission_reply: "Answered whether you may call",
        customer_information: "Filled in a form",
        feedback: "Gave feedback",
        template: "Template",
      })[kind] ?? "Chose",
    button: "Pressed a button",
    order: (count: number) => `Order of ${plural(count, "article", "articles")}`,
    system: (kind: string) =>
      ({
        user_changed_number: "The customer has a new number",
        customer_changed_number: "The customer has a new number",
        customer_identity_changed: "The customer may use another phone now",
        request_welcome: "The customer opened the chat",
        optin: "The customer agreed to be written to",
        optout: "The customer wants no more notifications",
        response_feedback: "The customer rated a message",
        referral: "The customer came from a link or an ad",
      })[kind] ?? "Notice of the platform",
    story_reply: "Replied to your story",
    story_mention: "Mentioned you in a story",
    share: "Shared a post",
    openElsewhere: "Open where it is kept",
    mayExpire: "The link works for a while only.",
    call: { inbound: "Incoming call", outbound: "Outgoing call", unknown: "Call" },
    callEnded: "End of a call",
    recording: "Listen to the recording",
    transcript: "Transcript",
    unsupported: (kind: string) => `A message of a kind that cannot be shown here: ${kind}`,
    raw: "Show what came",
    referral: "Came from an ad, a post or a link",
    product: "About a product",
    attachment: (kind: string) =>
      ({ image: "Photo", video: "Video", audio: "Audio", file: "Document", location: "Location" })[kind] ??
      "Attachment",
    lost: (reason: string) => `The platform says: ${reason}`,
  },

  composer: {
    label: "Message",
    noteLabel: "Internal note",
    placeholder: (name: string) => `Write to ${name}`,
    notePlaceholder: "Write a note for your team",
    note: "Note",
    noteTitle: "Internal note: only your team sees it",
    send: "Send",
    addNote: "Add note",
    hint: "Enter sends, Shift+Enter breaks the line",
    replyingTo: "Reply to",
    cancelReply: "Cancel the reply",
    sendingAgain: "Sends again",
    cancelSendingAgain: "Write a new message instead",
    left: (left: number, unit: "characters" | "bytes") =>
      left < 0 ? `${-left} ${unit} too many` : `${left} ${unit} left`,
    windowOpen: (left: string) => `You can answer for ${left}`,
    why: "Why?",
    kept: "What you wrote is kept until you can send it.",
    keepAsNote: "Keep as note",
    windowClosed: {
      title: "You can no longer write freely",
      why: (platform: string, since: string) =>
        `${platform} lets a business write freely for 24 hours after the customer's last message. That ended ${since}.`,
      refused: (platform: string) =>
        `${platform} has refused your last message, since the customer's own is more than 24 hours old.`,
      never: (platform: string) => `${platform} lets a business write only after the customer has written.`,
      template:
        "Once the customer writes again, you can answer. Until then WhatsApp takes only approved template messages, which cannot be sent from here yet.",
      wait: "Once the customer writes again, you can answer. Meanwhile you can leave a note for your team.",
    },
    notSendable: {
      title: "Answered elsewhere",
      why: "Your chatbot or telephony answers on this channel. Here you can leave internal notes.",
    },
    notConnected: {
      title: (platform: string) => `${platform} cannot send now`,
      why: "The account is not connected, or its key is refused.",
      admin: "Open Settings > Socials",
      operator: "Ask an admin of your organization to connect it again.",
    },
  },

  details: {
    label: "Customer",
    back: "Back to the messages",
    name: "Name",
    username: "User name",
    phone: "Phone",
    id: "Id",
    channel: "Channel",
    firstSeen: "First seen",
    lastSeen: "Last message",
    status: "Status",
    open: "Open",
    closed: "Closed",
    closeConversation: "Close conversation",
    reopenConversation: "Reopen conversation",
    markUnread: "Mark as unread",
    assignee: "Assigned to",
    nobody: "Nobody",
    assignToMe: "Assign to me",
    unassign: "Unassign",
    labels: "Labels",
    noLabels: "No labels yet.",
    newLabel: "New label",
    addLabel: "Add",
    removeLabel: (label: string) => `Remove the label ${label}`,
    labelsFull: "A conversation has at most 20 labels.",
  },

  changes: {
    waiting: (what: string[]) => `Waiting for the connection: ${what.join(", ")}.`,
    waitingShort: "Not saved yet",
    refused: (problem: string) => `Not changed. ${problem}`,
    what: ({ status, assign, addLabels, removeLabels }: ChangeRequest) =>
      status
        ? { open: "reopen", closed: "close" }[status]
        : assign
          ? assign.to === null
            ? "unassign"
            : "assign to you"
          : addLabels
            ? `add ${addLabels.join(", ")}`
            : removeLabels
              ? `remove ${removeLabels.join(", ")}`
              : "mark as unread",
  },

  announce: {
    newMessage: (name: string, preview: string) => `New message from ${name}: ${preview}`,
    sent: "Message sent",
    noteAdded: "Note added",
    notKnown: "Not known yet whether the message was sent",
    failed: (problem: string) => `Message not sent. ${problem}`,
    problem: {
      failed: (name: string) => `A message to ${name} failed`,
      unconfirmed: (name: string) => `Nobody has confirmed a message to ${name}`,
    },
  },

  settings: {
    title: "Socials",
    lead: "The accounts that your customers write to. Each platform takes one.",
    readOnly: "You see this page read-only: only an admin of your organization connects or changes accounts.",
    state: {
      connected: "Connected",
      disconnected: "Disconnected",
      error: "Error",
      none: "Not connected",
      blocked: "Cannot send",
      elsewhere: "Receives nothing",
      waiting: "Connected, waiting",
      limited: "Connected, limited",
    } satisfies Record<Standing, string>,
    about: {
      whatsapp: "Your WhatsApp Business number.",
      instagram: "Direct messages, story replies and mentions of your Instagram account.",
      facebook: "Messenger conversations of your Facebook page.",
    } satisfies Record<Platform, string>,
    account: "Account",
    number: "Number",
    business: "Business account",
    health: "Health",
    healthStatus: { available: "Can send", limited: "Can send, with limits", blocked: "Cannot send" },
    healthUnknown: "Not known yet",
    webhook: "Webhook",
    webhookYes: "Verified: messages come in",
    webhookNo: "Not verified yet",
    webhookOff: "Off: nothing is received",
    webhookElsewhere: "Points elsewhere: messages do not come in",
    webhookElsewhereWhy:
      "360dialog delivers this account's messages to another address. Register our webhook again, and they come in here.",
    webhookNoHint: "Proven by the first message that arrives, or by a test.",
    quiet: (since: string) =>
      `Nothing has come since ${since}; that is unusual for this account. Test it, then write to it yourself.`,
    claim: "Ownership",
    claimUnproven:
      "Not proven: the provider does not say whose account this is. Only what brings the account's own token comes in, and whoever proves the account to be theirs takes it over.",
    notices: "News of the account",
    earlierNotices: (count: number) => `Earlier news (${count})`,
    lastSynced: "Last checked",
    never: "Never",
    connect: "Connect",
    reconnect: "Connect again",
    replace: "Use another key",
    registerWebhook: "Register our webhook again",
    updateKey: "Update key",
    test: "Test",
    testing: "Testing…",
    connecting: "Connecting…",
    disconnect: "Disconnect",
    delete: "Delete",
    named: (action: string, platform: string) => `${action} ${platform}`,
    tested: (platform: string) => `${platform} was tested: everything is in order.`,
    testedLimited: (platform: string) => `${platform} was tested: it can send, with limits.`,
    testedWaiting: (platform: string) => `${platform} was tested: it can send; no message has come in yet.`,
    testedBad: (platform: string) => `${platform} was tested: something needs your attention.`,
    done: {
      connected: (platform: string) => `${platform} is connected.`,
      registered: (platform: string) => `Our webhook is registered again: messages to ${platform} come in here.`,
      disconnected: (platform: string) => `${platform} is disconnected. Its conversations stay.`,
      deleted: (platform: string) => `${platform} is removed. Its conversations stay.`,
    },
    form: {
      title: (platform: string) => `Connect ${platform}`,
      updateTitle: (platform: string) => `Update the key of ${platform}`,
      submit: "Connect",
      updateSubmit: "Update key",
      submitting: "Asking the provider…",
      optional: "optional",
      apiKey: "API key",
      apiKeyHelp: {
        whatsapp:
          "In the 360dialog hub, at your number: Generate API key. It is shown once; a new one replaces the old.",
        instagram: "In the 360dialog hub, at your Instagram account: Generate API key.",
        facebook: "In the 360dialog hub, at your page: Generate API key.",
      } satisfies Record<Platform, string>,
      apiKeyStored: "The key is stored encrypted and never shown again.",
      phoneNumberId: "Phone number ID",
      phoneNumberIdHelp: "In the 360dialog hub, in the details of your number. Digits, not the number itself.",
      wabaId: "WABA ID",
      wabaIdHelp: "The WhatsApp Business account, in the same details. Helps support to find your number.",
      instagramAccountId: "Instagram account ID",
      instagramAccountIdHelp: "In the Meta Business Suite: Settings > Instagram accounts. Digits, not the user name.",
      facebookPageId: "Facebook page ID",
      facebookPageIdHelp: "On your page: About > Page transparency. Digits, not the page's name.",
      missing: (field: string) => `${field} is missing.`,
      badKey: "This is no API key: copy it whole, without spaces.",
      badId: "This is no id: copy it without spaces or #, at most 128 characters.",
    },
    confirm: {
      disconnectTitle: (platform: string) => `Disconnect ${platform}?`,
      disconnect: [
        "Messages of customers are no longer received, and nothing can be sent.",
        "Conversations, the stored key and the claim to the account stay.",
        "Connect again at any time, without the key, to go on where it ended. What customers write meanwhile is not kept.",
      ],
      deleteTitle: (platform: string) => `Delete ${platform}?`,
      delete: [
        "Removed: the stored API key, and the claim to the account, so that it can be connected elsewhere.",
        "Not removed: the conversations and their messages.",
        "Messages of customers are no longer received, and nothing can be sent.",
      ],
    },
    webhookTitle: "Webhook",
    webhookLead:
      "Connecting WhatsApp registers this address with 360dialog by itself: there is nothing to set up. Where it has to be set by hand, tell 360dialog:",
    webhookUrl: "Webhook URL",
    webhookHeader:
      "Header: Authorization, with the value Bearer, a space, and the token of the account. The token is a secret of that account alone.",
    webhookToken: (platform: string) => `Token of ${platform}`,
    showWebhookToken: (platform: string) => `Show the token of ${platform}`,
    copy: "Copy",
    copied: "Copied",
    copyFailed: "It could not be copied: mark the address and copy it.",
  },

  time: {
    now: "now",
    minutes: (count: number) => `${count} min`,
    hoursAndMinutes: (hours: number, minutes: number) => (hours ? `${hours} h ${minutes} min` : `${minutes} min`),
    lessThanAMinute: "less than a minute",
    today: "Today",
    yesterday: "Yesterday",
    seconds: (seconds: number) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`,
  },

  documentTitle: (unread: string | null, problems: number, page: string) =>
    [unread && `(${unread})`, problems > 0 && `⚠ ${problems >= 99 ? "99+" : problems} ·`, page]
      .filter(Boolean)
      .join(" "),
} as const;
