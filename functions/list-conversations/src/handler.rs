//! Lists the organization's conversations, newest first.

use futures_util::future::try_join_all;
use lambda_http::{Body, Request, Response};
use shared::{
    Error, Result,
    auth::{self, Caller},
    clock,
    config::Claims,
    cursor, http,
    platform::Channel,
    store::{ConversationStatus, InboxFilter, Store},
    view::ConversationView,
};

/// The filter that stands for Instagram and Facebook.
const SOCIAL: &str = "social";

pub(crate) async fn handle(claims: &Claims, store: &Store, request: Request) -> Result<Response<Body>> {
    let caller = auth::caller(&request, claims, auth::PEOPLE)?;
    let organization = &caller.organization;
    let limit = http::page_limit(&request)?;
    let filter = filter(&request, &caller)?;
    let query = format!("conversations {filter:?}");
    let after = match http::query_parameter(&request, "cursor") {
        Some(text) => Some(cursor::decode(organization, &query, &text)?),
        None => None,
    };

    let page = store.inbox(organization, &filter, after.as_deref(), limit).await?;

    let now_ms = clock::now_ms();
    let views = page.conversations.into_iter();
    let views = views.map(|conversation| ConversationView::load(store, organization, conversation, now_ms));
    let views = try_join_all(views).await?;
    let next = page.next.map(|position| cursor::encode(organization, &query, &position));
    http::ok_list(&views, limit, next.as_deref())
}

fn filter(request: &Request, caller: &Caller) -> Result<InboxFilter> {
    let parameter = |name| http::query_parameter(request, name);
    let channels = match parameter("channel").as_deref() {
        None => Channel::ALL.to_vec(),
        Some(SOCIAL) => Channel::ALL.into_iter().filter(|channel| channel.public_name() == SOCIAL).collect(),
        Some(channel) => {
            let unknown =
                |error: shared::platform::UnknownChannel| Error::invalid_parameter(error.to_string(), "channel");
            vec![channel.parse().map_err(unknown)?]
        }
    };
    let status = match parameter("status").as_deref() {
        None => None,
        Some("open") => Some(ConversationStatus::Open),
        Some("closed") => Some(ConversationStatus::Closed),
        Some(_) => return Err(Error::invalid_parameter("`status` is open or closed", "status")),
    };
    let unread = match parameter("unread").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::invalid_parameter("`unread` is true or false", "unread")),
    };
    let assigned_to = parameter("assignedTo").map(|user| if user == "me" { caller.user.clone() } else { user });
    Ok(InboxFilter { channels, status, unread, assigned_to, label: parameter("label") })
}
