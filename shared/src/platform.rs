//! Where a conversation happens: the messaging platforms, and the channels that the inbox filters by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A messaging platform that an organization connects an account on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// WhatsApp Business; an account is a phone number, named by its phone number id.
    Whatsapp,
    /// Instagram messaging; an account is an Instagram professional account.
    Instagram,
    /// Messenger; an account is a Facebook page.
    Facebook,
}

impl Platform {
    /// Every platform, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Whatsapp, Self::Instagram, Self::Facebook];

    /// Its name in keys, paths and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Facebook => "facebook",
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn display_name(self) -> &'static str {
        match self {
            Self::Whatsapp => "WhatsApp",
            Self::Instagram => "Instagram",
            Self::Facebook => "Facebook",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text names no platform.
#[derive(Debug, thiserror::Error)]
#[error("unknown platform: use whatsapp, instagram or facebook")]
pub struct UnknownPlatform;

impl FromStr for Platform {
    type Err = UnknownPlatform;

    fn from_str(text: &str) -> Result<Self, UnknownPlatform> {
        Self::ALL.into_iter().find(|platform| platform.as_str() == text).ok_or(UnknownPlatform)
    }
}

/// Where a conversation happens: a platform, or one of the platform-less channels whose messages KepleroAI's own
/// chatbot and telephony hand over. Each is one partition of the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The website's chatbot.
    Website,
    /// WhatsApp.
    Whatsapp,
    /// Instagram.
    Instagram,
    /// Messenger.
    Facebook,
    /// Telephone calls.
    Phone,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 5] = [Self::Website, Self::Whatsapp, Self::Instagram, Self::Facebook, Self::Phone];

    /// Its name in keys and as a filter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Website => "website",
            Self::Phone => "phone",
            Self::Whatsapp => Platform::Whatsapp.as_str(),
            Self::Instagram => Platform::Instagram.as_str(),
            Self::Facebook => Platform::Facebook.as_str(),
        }
    }

    /// The platform behind it; none for the website and the phone.
    #[must_use]
    pub fn platform(self) -> Option<Platform> {
        match self {
            Self::Website | Self::Phone => None,
            Self::Whatsapp => Some(Platform::Whatsapp),
            Self::Instagram => Some(Platform::Instagram),
            Self::Facebook => Some(Platform::Facebook),
        }
    }

    /// The `channel` of a conversation in the API: Instagram and Facebook are both `social`.
    #[must_use]
    pub fn public_name(self) -> &'static str {
        match self {
            Self::Instagram | Self::Facebook => "social",
            other => other.as_str(),
        }
    }
}

impl From<Platform> for Channel {
    fn from(platform: Platform) -> Self {
        match platform {
            Platform::Whatsapp => Self::Whatsapp,
            Platform::Instagram => Self::Instagram,
            Platform::Facebook => Self::Facebook,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The text names no channel.
#[derive(Debug, thiserror::Error)]
#[error("unknown channel: use website, whatsapp, instagram, facebook, phone or social")]
pub struct UnknownChannel;

impl FromStr for Channel {
    type Err = UnknownChannel;

    fn from_str(text: &str) -> Result<Self, UnknownChannel> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text).ok_or(UnknownChannel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for platform in Platform::ALL {
            assert_eq!(platform.as_str().parse::<Platform>().unwrap(), platform);
        }
        for channel in Channel::ALL {
            assert_eq!(channel.as_str().parse::<Channel>().unwrap(), channel);
        }
    }

    #[test]
    fn names_are_exact() {
        assert!("WhatsApp".parse::<Platform>().is_err());
        assert!("social".parse::<Channel>().is_err());
    }
}
