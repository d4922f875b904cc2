//! How the console's files are served.

use super::{
    Template,
    yaml::{as_text, only_keys, wrong},
};
use crate::error::Result;

/// What the console's files are served with.
#[derive(Debug, Clone, PartialEq)]
pub struct Console {
    /// The headers of every answer, from the response headers policy.
    pub headers: Vec<(String, String)>,
    /// The text of `config.json`, the output `ConsoleConfig`.
    pub config: String,
}

impl Template<'_> {
    pub(super) fn console(&self) -> Result<Option<Console>> {
        let mut policies = self.resources()?.iter();
        let Some((id, policy)) =
            policies.find(|(_, resource)| resource["Type"] == "AWS::CloudFront::ResponseHeadersPolicy")
        else {
            return Ok(None);
        };
        let place = format!("Resources.{id}.Properties.ResponseHeadersPolicyConfig");
        let policy = self.required(&policy["Properties"]["ResponseHeadersPolicyConfig"], &place)?;
        only_keys(&policy, &place, &["Name", "Comment", "SecurityHeadersConfig", "CustomHeadersConfig"])?;
        let mut headers = Vec::new();
        let place = format!("{place}.SecurityHeadersConfig");
        for (name, header) in policy["SecurityHeadersConfig"].as_object().into_iter().flatten() {
            let text = |key: &str| as_text(&header[key], &format!("{place}.{name}.{key}"));
            headers.push(match name.as_str() {
                "ContentSecurityPolicy" => ("content-security-policy".to_owned(), text("ContentSecurityPolicy")?),
                "ContentTypeOptions" => ("x-content-type-options".to_owned(), "nosniff".to_owned()),
                "FrameOptions" => ("x-frame-options".to_owned(), text("FrameOption")?),
                "ReferrerPolicy" => ("referrer-policy".to_owned(), text("ReferrerPolicy")?),
                // There is no TLS here to insist on.
                "StrictTransportSecurity" => continue,
                other => return Err(wrong(&place, format!("{other} is not served on this machine"))),
            });
        }
        for header in policy["CustomHeadersConfig"]["Items"].as_array().into_iter().flatten() {
            let text = |key: &str| as_text(&header[key], &format!("Resources.{id}: CustomHeadersConfig.{key}"));
            headers.push((text("Header")?.to_ascii_lowercase(), text("Value")?));
        }
        let config = &self.document["Outputs"]["ConsoleConfig"]["Value"];
        Ok(Some(Console { headers, config: self.text(config, "Outputs.ConsoleConfig.Value")? }))
    }
}
