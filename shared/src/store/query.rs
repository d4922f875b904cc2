//! Reads of many items: one partition of the table or of its index, page by page.

use super::{
    Item, Store,
    expression::{Expression, s},
    fault, keys,
};
use crate::error::Result;

/// Which items of a partition are read, and in which order.
#[derive(Clone, Debug)]
pub(super) struct Query {
    partition: String,
    of_inbox: bool,
    is_consistent: bool,
    range: Option<Range>,
    filter: Expression,
    projection: Vec<&'static str>,
    newest_first: bool,
    limit: Option<usize>,
}

/// Which sort keys of the partition.
#[derive(Clone, Debug)]
enum Range {
    BeginningWith(String),
    Between(String, String),
    Below(String),
    Above(String),
}

impl Query {
    /// A partition of the table, as it is after every write that was answered before.
    pub(super) fn of(partition: String) -> Self {
        Self {
            partition,
            of_inbox: false,
            is_consistent: true,
            range: None,
            filter: Expression::default(),
            projection: Vec::new(),
            newest_first: false,
            limit: None,
        }
    }

    /// A partition of the index [`keys::INBOX`]: it follows the table within moments.
    pub(super) fn of_inbox(partition: String) -> Self {
        Self { of_inbox: true, is_consistent: false, ..Self::of(partition) }
    }

    /// At half the price: what was written a moment ago may be missing.
    pub(super) fn eventually_consistent(self) -> Self {
        Self { is_consistent: false, ..self }
    }

    /// The sort keys that begin so.
    pub(super) fn beginning_with(self, prefix: &str) -> Self {
        Self { range: Some(Range::BeginningWith(prefix.to_owned())), ..self }
    }

    /// The sort keys from one to another, both included.
    pub(super) fn between(self, lowest: String, highest: String) -> Self {
        Self { range: Some(Range::Between(lowest, highest)), ..self }
    }

    /// The sort keys below one, where there is one.
    pub(super) fn below(self, sort: Option<&str>) -> Self {
        Self { range: sort.map(|sort| Range::Below(sort.to_owned())), ..self }
    }

    /// The sort keys above one; above an empty one are all.
    pub(super) fn above(self, sort: &str) -> Self {
        Self { range: (!sort.is_empty()).then(|| Range::Above(sort.to_owned())), ..self }
    }

    /// Only items that meet these demands; a page may be left with none.
    pub(super) fn filter(self, filter: Expression) -> Self {
        Self { filter, ..self }
    }

    /// Only these attributes.
    pub(super) fn only(self, attributes: &[&'static str]) -> Self {
        Self { projection: attributes.to_vec(), ..self }
    }

    /// The highest sort key first.
    pub(super) fn newest_first(self) -> Self {
        Self { newest_first: true, ..self }
    }

    /// At most so many items are looked at for a page, whether they pass the filter or not.
    pub(super) fn limit(self, items: usize) -> Self {
        Self { limit: Some(items), ..self }
    }
}

/// A query that is under way.
pub(super) struct Pages<'a> {
    store: &'a Store,
    query: Query,
    /// Where the next page begins; `None` before the first.
    start: Option<Item>,
    is_over: bool,
}

impl Pages<'_> {
    /// The items of the next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>> {
        if self.is_over {
            return Ok(None);
        }
        let Query { partition, of_inbox, is_consistent, range, filter, projection, newest_first, limit } =
            self.query.clone();
        let conditions = filter.conditions();
        let mut expression = filter;
        let (pk, sk) = if of_inbox { (keys::INBOX_KEY, keys::INBOX_SORT) } else { (keys::PK, keys::SK) };
        let mut key = format!("{} = {}", expression.name(pk), expression.value(s(partition)));
        if let Some(range) = range {
            let (sort, mut value) = (expression.name(sk), |text| expression.value(s(text)));
            let range = match range {
                Range::BeginningWith(prefix) => format!("begins_with({sort}, {})", value(prefix)),
                Range::Between(lowest, highest) => format!("{sort} BETWEEN {} AND {}", value(lowest), value(highest)),
                Range::Below(bound) => format!("{sort} < {}", value(bound)),
                Range::Above(bound) => format!("{sort} > {}", value(bound)),
            };
            key = format!("{key} AND {range}");
        }
        let projection: Vec<_> = projection.into_iter().map(|attribute| expression.name(attribute)).collect();
        let (names, values) = expression.into_names_and_values();
        let request = self
            .store
            .client
            .query()
            .table_name(&self.store.table)
            .set_index_name(of_inbox.then(|| keys::INBOX.to_owned()))
            .consistent_read(is_consistent)
            .key_condition_expression(key)
            .set_filter_expression(conditions)
            .set_projection_expression((!projection.is_empty()).then(|| projection.join(", ")))
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .scan_index_forward(!newest_first)
            .set_limit(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(self.start.take());
        let permit = self.store.permit().await?;
        let output = request.send().await.map_err(|error| fault("Query", &error))?;
        drop(permit);
        self.start = output.last_evaluated_key;
        self.is_over = self.start.is_none();
        Ok(Some(output.items.unwrap_or_default()))
    }

    /// The sort key up to which items were looked at; `None` at the end.
    pub(super) fn position(&self) -> Option<String> {
        let sort = if self.query.of_inbox { keys::INBOX_SORT } else { keys::SK };
        self.start.as_ref()?.get(sort)?.as_s().ok().cloned()
    }
}

impl Store {
    /// What a query finds, page by page.
    pub(super) fn pages(&self, query: Query) -> Pages<'_> {
        Pages { store: self, query, start: None, is_over: false }
    }

    /// What a query finds on its first page.
    pub(super) async fn query(&self, query: Query) -> Result<Vec<Item>> {
        Ok(self.pages(query).next().await?.unwrap_or_default())
    }
}
