//! Writes that happen together, or not at all.

use aws_sdk_dynamodb::{
    operation::transact_write_items::TransactWriteItemsError,
    types::{CancellationReason, Delete, Put, TransactWriteItem, Update},
};

use super::{Expression, Item, Store, fault, keys::Key};
use crate::error::{Error, Result};

impl Store {
    /// Writes an item, where the condition holds of what is there.
    pub(super) fn transact_put(&self, item: Item, condition: &Expression) -> Result<TransactWriteItem> {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .set_condition_expression(condition.conditions())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Changes an item, where the expression's conditions hold.
    pub(super) fn transact_update(&self, key: &Key, expression: &Expression) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .set_update_expression(expression.update())
            .set_condition_expression(expression.conditions())
            .set_expression_attribute_names(expression.names())
            .set_expression_attribute_values(expression.values())
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Deletes an item, where the condition holds.
    pub(super) fn transact_delete(&self, key: &Key, condition: &Expression) -> Result<TransactWriteItem> {
        let delete = Delete::builder()
            .table_name(&self.table)
            .set_key(Some(key.attributes()))
            .set_condition_expression(condition.conditions())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// All of the writes or none; `refused` names the error where the condition of the write at that position did not hold.
    /// [`Error::Conflict`] where somebody else was just writing one of the items.
    pub(super) async fn transact(
        &self,
        writes: Vec<TransactWriteItem>,
        refused: impl Fn(usize) -> Error,
    ) -> Result<()> {
        let request = self.client.transact_write_items().set_transact_items(Some(writes));
        let _permit = self.permit().await?;
        let Err(error) = request.send().await else { return Ok(()) };
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => canceled.cancellation_reasons(),
            _ => &[],
        };
        Err(canceled(reasons, refused).unwrap_or_else(|| fault("TransactWriteItems", &error)))
    }
}

/// What the reasons of a canceled transaction mean; `None` where they are a fault of the table.
fn canceled(reasons: &[CancellationReason], refused: impl Fn(usize) -> Error) -> Option<Error> {
    let position = |code: &str| reasons.iter().position(|reason| reason.code() == Some(code));
    let is_contended = || position("TransactionConflict").map(|_| Error::Conflict);
    position("ConditionalCheckFailed").map(refused).or_else(is_contended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canceled_transaction_is_refused_or_contended_or_a_fault() {
        let means = |codes: [&str; 2]| {
            let reasons = codes.map(|code| CancellationReason::builder().code(code).build());
            canceled(&reasons, |position| if position == 1 { Error::AccountInUse } else { Error::NotConnected })
        };

        assert!(matches!(means(["TransactionConflict", "ConditionalCheckFailed"]), Some(Error::AccountInUse)));
        assert!(matches!(means(["None", "TransactionConflict"]), Some(Error::Conflict)));
        assert!(means(["None", "ThrottlingError"]).is_none());
    }
}
