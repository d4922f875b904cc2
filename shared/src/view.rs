//! What leaves the service: integrations, conversations and messages as the API shows them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    clock::rfc3339,
    content::ContentType,
    dialog360::advice::{Action, advice},
    error::Result,
    event::ProviderError,
    id::{ConversationId, MessageId, OrganizationId},
    message::{Direction, Sender, Standing, Status},
    platform::Platform,
    store::{
        Claim, ConnectionStatus, Conversation, ConversationStatus, HealthStatus, Integration, Message, MessageType,
        Store, WEBHOOK_ELSEWHERE,
    },
    window::{Window, window},
};

/// What stands for an API key.
const MASK: &str = "***********";

/// An integration.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IntegrationView {
    organization_id: OrganizationId,
    platform: Platform,
    status: ConnectionStatus,
    claim: Claim,
    credentials: Value,
    webhook_verified: bool,
    /// The provider delivers to somebody else.
    webhook_elsewhere: bool,
    repair_webhook: bool,
    last_synced_at: Option<String>,
    error_message: Option<String>,
    health: Option<HealthView>,
    notices: Vec<Value>,
    quiet_since: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthView {
    status: HealthStatus,
    reasons: Vec<String>,
    checked_at: String,
}

impl From<Integration> for IntegrationView {
    fn from(integration: Integration) -> Self {
        let claim = integration.claim();
        let blocked = integration.health.as_ref().filter(|health| health.status == HealthStatus::Blocked);
        let why_blocked = blocked.and_then(|health| health.reasons.first().cloned());
        let credentials = &integration.credentials;
        let mut shown = json!({ "apiKey": MASK });
        match integration.platform {
            Platform::Whatsapp => {
                shown["phoneNumberId"] = json!(credentials.account);
                shown["wabaId"] = json!(credentials.waba_id);
                shown["displayPhoneNumber"] = json!(credentials.display_phone_number);
            }
            Platform::Instagram => shown["instagramAccountId"] = json!(credentials.account),
            Platform::Facebook => shown["facebookPageId"] = json!(credentials.account),
        }
        Self {
            organization_id: integration.organization_id,
            platform: integration.platform,
            status: integration.status,
            claim,
            credentials: shown,
            webhook_verified: integration.webhook_verified,
            webhook_elsewhere: integration.error_message.as_deref() == Some(WEBHOOK_ELSEWHERE),
            repair_webhook: integration.repair_webhook,
            last_synced_at: integration.last_synced_at.map(rfc3339),
            error_message: integration.error_message.or(why_blocked),
            notices: integration
                .notices
                .into_iter()
                .map(|notice| json!({ "at": rfc3339(notice.at), "kind": notice.kind, "message": notice.message }))
                .collect(),
            quiet_since: integration.quiet_since.map(rfc3339),
            health: integration.health.map(|health| HealthView {
                status: health.status,
                reasons: health.reasons,
                checked_at: rfc3339(health.checked_at),
            }),
            created_at: rfc3339(integration.created_at),
            updated_at: rfc3339(integration.updated_at),
        }
    }
}

/// What a conversation itself tells, without a look at its messages.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationFacts {
    id: ConversationId,
    channel: &'static str,
    metadata: Value,
    status: ConversationStatus,
    customer: CustomerView,
    assigned_to: Option<String>,
    labels: Vec<String>,
    window: Window,
    created_at: String,
    updated_at: String,
}

/// A conversation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationView {
    #[serde(flatten)]
    facts: ConversationFacts,
    /// Whether the customer wrote something that nobody has read.
    pub unread: bool,
    unread_count: usize,
    first_unread_id: Option<MessageId>,
    last_message: Value,
    /// The newest message that failed or may not have arrived.
    problem: Option<Value>,
}

#[derive(Debug, Serialize)]
struct CustomerView {
    id: String,
    name: Option<String>,
    phone: Option<String>,
    username: Option<String>,
}

/// Unread messages are counted up to here.
const UNREAD_MAX: usize = 99;

impl ConversationView {
    /// A conversation as it is now. Unread messages are counted where there may be any: only the messages tell for sure. The
    /// unsettled messages are those of the whole organization.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn load(
        store: &Store,
        organization: &OrganizationId,
        conversation: Conversation,
        unsettled: &[Message],
        now_ms: i64,
    ) -> Result<Self> {
        let partitions = conversation.partitions();
        let unread = match &conversation.unread_from {
            None => Vec::new(),
            Some(from) => {
                let mark = conversation.read_mark();
                store.unread_messages(organization, &partitions, from, None, mark, UNREAD_MAX).await?
            }
        };
        let first_unread = unread.iter().min_by_key(|message| message.position()).map(|message| message.id.clone());
        let unread_count = unread.len().min(UNREAD_MAX);
        let last_id = conversation.last_message_id.as_ref().unwrap_or(&conversation.last_message_key);
        let own: Vec<_> =
            unsettled.iter().filter(|message| partitions.iter().any(|part| part.holds(message))).collect();
        let last = own.iter().find(|message| message.id == *last_id);
        let last_message = json!({
            "id": last_id,
            "type": MessageType::Message,
            "text": conversation.last_message_text,
            "sender": conversation.last_message_sender,
            "timestamp": rfc3339(conversation.last_message_key.epoch_ms()),
            "status": last.and_then(|message| message.standing(now_ms)).map(Standing::as_str),
            "error": last.and_then(|message| message.error.clone()).map(MessageErrorView::from),
        });
        let problem = own.iter().find(|message| message.is_problem(now_ms)).map(|message| problem(message, now_ms));
        Ok(Self {
            unread: unread_count > 0,
            unread_count,
            first_unread_id: first_unread,
            last_message,
            problem,
            facts: ConversationFacts::new(conversation, now_ms),
        })
    }
}

impl ConversationFacts {
    /// A conversation as it stood then.
    #[must_use]
    pub fn new(conversation: Conversation, now_ms: i64) -> Self {
        let name = conversation.customer_name;
        Self {
            channel: conversation.channel.public_name(),
            metadata: json!({ "platform": conversation.channel.platform() }),
            status: conversation.status,
            customer: CustomerView {
                id: conversation.customer_user_id.unwrap_or_else(|| conversation.id.to_string()),
                name: name.or(conversation.customer_username.clone()).or(conversation.customer_phone.clone()),
                phone: conversation.customer_phone,
                username: conversation.customer_username,
            },
            assigned_to: conversation.assigned_to,
            labels: conversation.labels.into_iter().collect(),
            window: window(conversation.channel, conversation.last_inbound_at, now_ms),
            created_at: rfc3339(conversation.created_at),
            updated_at: rfc3339(conversation.updated_at),
            id: conversation.id,
        }
    }
}

/// What a conversation tells of a message that failed or may not have arrived.
fn problem(message: &Message, now_ms: i64) -> Value {
    let kind = message.standing(now_ms).map(Standing::as_str);
    let reached = |status: Status| message.status_history.as_ref()?.get(status.as_str()).copied();
    let at = message.status.and_then(reached).unwrap_or(message.id.epoch_ms());
    let code = message.error.as_ref().map(|error| &error.code);
    json!({ "kind": kind, "messageId": message.id, "code": code, "at": rfc3339(at) })
}

/// Why a message failed: the provider's words, and ours with the one thing to do.
#[derive(Debug, Serialize)]
struct MessageErrorView {
    #[serde(flatten)]
    provider: ProviderError,
    message: &'static str,
    action: Action,
}

impl From<ProviderError> for MessageErrorView {
    fn from(provider: ProviderError) -> Self {
        let advice = advice(&provider);
        Self { provider, message: advice.message, action: advice.action }
    }
}

/// A message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    id: crate::id::MessageId,
    conversation_id: ConversationId,
    direction: Direction,
    sender: Sender,
    operator_id: Option<String>,
    #[serde(rename = "type")]
    message_type: MessageType,
    content_type: ContentType,
    text: Option<String>,
    content: Map<String, Value>,
    reply_to: Option<Value>,
    reactions: Vec<Value>,
    edited_at: Option<String>,
    deleted_at: Option<String>,
    timestamp: String,
    received_at: String,
    status: Option<&'static str>,
    status_history: Vec<Value>,
    error: Option<MessageErrorView>,
    resend_of: Option<MessageId>,
    resent_as: Option<MessageId>,
    assumed: Option<Value>,
}

impl MessageView {
    /// A message of a conversation as it is now.
    #[must_use]
    pub fn new(message: Message, conversation: &Conversation, now_ms: i64) -> Self {
        let watermarks = [(Status::Delivered, conversation.delivered_up_to), (Status::Read, conversation.read_up_to)];
        Self::with_watermarks(message, &conversation.id, watermarks, now_ms)
    }

    /// A message as it alone tells: not how far the customer has received and read.
    #[must_use]
    pub fn alone(message: Message, conversation: &ConversationId, now_ms: i64) -> Self {
        Self::with_watermarks(message, conversation, [(Status::Delivered, None), (Status::Read, None)], now_ms)
    }

    fn with_watermarks(
        message: Message,
        conversation: &ConversationId,
        watermarks: [(Status, Option<i64>); 2],
        now_ms: i64,
    ) -> Self {
        let sent_at = message.id.epoch_ms();
        let mut history: Vec<(Status, i64)> = Vec::new();
        for status in [
            Status::Sending,
            Status::Unknown,
            Status::Accepted,
            Status::Sent,
            Status::Failed,
            Status::Delivered,
            Status::Read,
        ] {
            if let Some(at) = message.status_history.as_ref().and_then(|history| history.get(status.as_str())) {
                history.push((status, *at));
            }
        }
        let standing = message.standing(now_ms).map(|standing| match standing {
            Standing::Told(status @ (Status::Accepted | Status::Sent | Status::Delivered)) => {
                let reached = watermarks.into_iter().filter_map(|(status, at)| Some((status, at?)));
                Standing::Told(reached.filter(|(_, at)| *at >= sent_at).fold(status, |status, (raised, at)| {
                    if raised > status {
                        history.push((raised, at));
                        raised
                    } else {
                        status
                    }
                }))
            }
            other => other,
        });
        let content = message.content.and_then(|content| serde_json::from_str(&content).ok()).unwrap_or_default();
        let reply_to = (message.reply_to.is_some() || message.reply_to_external.is_some())
            .then(|| json!({ "id": message.reply_to, "externalId": message.reply_to_external }));
        let reactions = message.reactions.into_iter().filter_map(|(by, reaction)| {
            Some(json!({ "by": by, "emoji": reaction.emoji?, "timestamp": rfc3339(reaction.at) }))
        });
        Self {
            timestamp: rfc3339(sent_at),
            id: message.id,
            conversation_id: conversation.clone(),
            direction: message.direction,
            sender: message.sender,
            operator_id: message.operator_id,
            message_type: message.message_type,
            content_type: message.content_type,
            text: message.text,
            content,
            reply_to,
            reactions: reactions.collect(),
            edited_at: message.edited_at.map(rfc3339),
            deleted_at: message.deleted_at.map(rfc3339),
            received_at: rfc3339(message.received_at / 1000),
            status: standing.map(Standing::as_str),
            status_history: history
                .into_iter()
                .map(|(status, at)| json!({ "status": status, "timestamp": rfc3339(at) }))
                .collect(),
            error: message.error.map(MessageErrorView::from),
            resend_of: message.resend_of,
            resent_as: message.resent_as,
            assumed: message.assumed.map(|assumed| json!({ "by": assumed.by, "timestamp": rfc3339(assumed.at) })),
        }
    }

    /// Fills in our ids of quoted messages, where the quoted one is in the same list.
    pub fn resolve_quotes(views: &mut [Self], external_ids: &std::collections::HashMap<String, crate::id::MessageId>) {
        for quote in views.iter_mut().filter_map(|view| view.reply_to.as_mut()) {
            if quote["id"].is_null()
                && let Some(id) = quote["externalId"].as_str().and_then(|external| external_ids.get(external))
            {
                quote["id"] = json!(id);
            }
        }
    }
}
