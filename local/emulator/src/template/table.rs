//! The table.

use serde_json::{Value, json};

use super::{
    Template,
    yaml::{as_text, only_keys, wrong},
};
use crate::error::Result;

/// The table.
#[derive(Debug)]
pub struct Table {
    /// Its name here.
    pub name: String,
    /// Whether the stack makes it; else it must be there already.
    pub is_made: bool,
    /// The body of `CreateTable`.
    pub create: Value,
    /// The attribute that expires items.
    pub ttl_attribute: Option<String>,
    /// Whether it is encrypted with a key of ours, which whoever uses the table must then be allowed to use through it.
    pub uses_key: bool,
}

impl Template<'_> {
    pub(super) fn table(&self) -> Result<Table> {
        let tables: Vec<_> =
            self.resources()?.iter().filter(|(_, resource)| resource["Type"] == "AWS::DynamoDB::Table").collect();
        let [(id, table)] = tables.as_slice() else {
            return Err(wrong("Resources", format!("{} tables: this machine serves exactly one", tables.len())));
        };
        let place = format!("Resources.{id}.Properties");
        let is_made = match table["Condition"].as_str() {
            Some(condition) => self.condition(condition, &format!("Resources.{id}.Condition"))?,
            None => true,
        };
        let name = if is_made {
            self.reference(id, &place)?.as_str().unwrap_or_default().to_owned()
        } else {
            self.parameter_or("ExistingTable", "")
        };
        let mut create = json!({ "TableName": name, "BillingMode": "PAY_PER_REQUEST" });
        for key in [
            "AttributeDefinitions",
            "KeySchema",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
            "StreamSpecification",
        ] {
            let value = &table["Properties"][key];
            if !value.is_null() {
                create[key] = self.required(value, &format!("{place}.{key}"))?;
            }
        }
        if create["StreamSpecification"].is_object() {
            // CloudFormation's form has no switch.
            create["StreamSpecification"]["StreamEnabled"] = true.into();
        }
        let understood = [
            "AttributeDefinitions",
            "KeySchema",
            "GlobalSecondaryIndexes",
            "LocalSecondaryIndexes",
            "StreamSpecification",
            "BillingMode",
            "TableName",
            "TimeToLiveSpecification",
            // These have no meaning on one machine.
            "DeletionProtectionEnabled",
            "PointInTimeRecoverySpecification",
            "SSESpecification",
            "OnDemandThroughput",
            "TableClass",
            "ContributorInsightsSpecification",
            "Tags",
        ];
        only_keys(&table["Properties"], &place, &understood)?;
        let ttl_place = format!("{place}.TimeToLiveSpecification");
        let ttl = self.resolve(&table["Properties"]["TimeToLiveSpecification"], &ttl_place)?.unwrap_or_default();
        let ttl_attribute = match &ttl["Enabled"] {
            Value::Null | Value::Bool(false) => None,
            _ => Some(as_text(&ttl["AttributeName"], &format!("{ttl_place}.AttributeName"))?),
        };
        let uses_key = !table["Properties"]["SSESpecification"]["KMSMasterKeyId"].is_null();
        Ok(Table { name, is_made, create, ttl_attribute, uses_key })
    }
}
