import type { Conversation, Integration, Message } from "../api";

/** A message of a customer, with what a test wants to be different. */
export function message(change: Partial<Message> = {}): Message {
  return {
    id: "1795427900000-0123456789abcdef0123456789abcdef",
    conversationId: "0123456789abcdef0123456789abcdef",
    direction: "inbound",
    sender: "customer",
    operatorId: null,
    type: "message",
    contentType: "text",
    text: "Hello, is the blue one in stock?",
    content: {},
    replyTo: null,
    reactions: [],
    editedAt: null,
    deletedAt: null,
    timestamp: "2026-11-23T09:58:20.000Z",
    receivedAt: "2026-11-23T09:58:20.310Z",
    status: null,
    statusHistory: [],
    error: null,
    resendOf: null,
    resentAs: null,
    assumed: null,
    ...change,
  };
}

/** A reply of the operator ann. */
export function reply(change: Partial<Message> = {}): Message {
  return message({
    id: "1795428000500-89abcdef0123456789abcdef01234567",
    direction: "outbound",
    sender: "operator",
    operatorId: "ann",
    text: "Yes, it is.",
    status: "accepted",
    ...change,
  });
}

export function conversation(change: Partial<Conversation> = {}): Conversation {
  return {
    id: "0123456789abcdef0123456789abcdef",
    channel: "whatsapp",
    metadata: { platform: "whatsapp" },
    status: "open",
    unread: true,
    unreadCount: 1,
    firstUnreadId: "1795427900000-0123456789abcdef0123456789abcdef",
    customer: { id: "DE.81720034455667788990", name: "Lena Vogt", phone: "491713920012", username: "lenavogt" },
    lastMessage: {
      id: "1795427900000-0123456789abcdef0123456789abcdef",
      type: "message",
      text: "Hello, is the blue one in stock?",
      sender: "customer",
      timestamp: "2026-11-23T09:58:20.000Z",
      status: null,
      error: null,
    },
    problem: null,
    assignedTo: null,
    labels: [],
    window: { open: true, closesAt: "2026-11-24T09:58:20.000Z", allowed: ["text", "template"] },
    createdAt: "2026-11-23T09:58:20.310Z",
    updatedAt: "2026-11-23T09:58:20.310Z",
    ...change,
  };
}

export function integration(change: Partial<Integration> = {}): Integration {
  return {
    organizationId: "acme",
    platform: "whatsapp",
    status: "connected",
    claim: "proven",
    credentials: { apiKey: "***********", phoneNumberId: "106540352242922", wabaId: null, displayPhoneNumber: null },
    webhookVerified: true,
    webhookElsewhere: false,
    repairWebhook: false,
    lastSyncedAt: "2026-11-23T09:00:00.000Z",
    errorMessage: null,
    health: { status: "available", reasons: [], checkedAt: "2026-11-23T09:00:00.000Z" },
    notices: [],
    quietSince: null,
    createdAt: "2026-11-20T09:00:00.000Z",
    updatedAt: "2026-11-23T09:00:00.000Z",
    ...change,
  };
}
