//! What a seed is about: organizations, their accounts and customers, and everything that the provider will have to tell.

use std::fmt;

use fastrand::Rng;

/// Where an account lives; `Website` is the platform's own chatbot, which hands its messages over by the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Platform {
    Whatsapp,
    Instagram,
    Facebook,
    Website,
}

/// The platforms of the provider.
pub(super) const PLATFORMS: [Platform; 3] = [Platform::Whatsapp, Platform::Instagram, Platform::Facebook];

/// What its owner does with an account meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays connected.
    Stays,
    /// It gets new keys.
    Rotates,
    /// It is disconnected and connected again.
    Pauses,
    /// It is deleted, and whoever connects it first has it.
    Moves,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) platform: Platform,
    pub(super) id: String,
    /// The organization that connects it first, by index.
    pub(super) owner: usize,
    /// The other organization that wants it.
    pub(super) rival: Option<usize>,
    pub(super) fate: Fate,
}

/// A person on the other side of one account.
#[derive(Debug)]
pub(super) struct Customer {
    pub(super) account: usize,
    /// All spellings of one number.
    pub(super) phones: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) name: String,
}

/// The ids of a customer that an event shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) phone: Option<String>,
    pub(super) user: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The customer writes.
    Text,
    /// The customer sends a photo without a caption.
    Photo,
    /// The business writes from its telephone or its page.
    Echo,
    /// An item without an id.
    WithoutId,
    /// An item that is no object.
    NotObject,
    /// An item of no known kind.
    Unnamed,
    /// A body that is not JSON.
    NotJson,
}

/// Something that the provider has to tell.
#[derive(Debug)]
pub(super) struct Event {
    /// `None`: an account that nobody has.
    pub(super) account: Option<usize>,
    pub(super) customer: usize,
    pub(super) shown: Shown,
    pub(super) kind: Kind,
    /// The provider's id.
    pub(super) id: String,
    /// Stands in everything that shows this event, and nowhere else.
    pub(super) mark: String,
    pub(super) text: String,
    /// The provider's time, epoch milliseconds.
    pub(super) at: i64,
    /// The time that it may tell when it tells this again.
    pub(super) also_at: Option<i64>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    /// Their ids.
    pub(super) organizations: Vec<String>,
    pub(super) accounts: Vec<Account>,
    pub(super) customers: Vec<Customer>,
    pub(super) events: Vec<Event>,
}

impl Platform {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Facebook => "facebook",
            Self::Website => "website",
        }
    }

    /// The field of a connect request that names the account.
    pub(super) fn account_field(self) -> &'static str {
        match self {
            Self::Whatsapp | Self::Website => "phoneNumberId",
            Self::Instagram => "instagramAccountId",
            Self::Facebook => "facebookPageId",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Kind {
    /// Nobody can understand it.
    pub(super) fn is_poison(self) -> bool {
        matches!(self, Self::WithoutId | Self::NotObject | Self::Unnamed | Self::NotJson)
    }

    pub(super) fn is_from_customer(self) -> bool {
        matches!(self, Self::Text | Self::Photo)
    }
}

impl Event {
    /// The time that is told of it, for the first time or again.
    pub(super) fn told_at(&self, is_again: bool) -> i64 {
        self.also_at.filter(|_| is_again).unwrap_or(self.at)
    }

    /// What the inbox has to show of it.
    pub(super) fn preview(&self) -> String {
        preview(self.kind, &self.text)
    }
}

/// What the inbox has to show: at most 160 bytes, and a name for what has no words.
pub(super) fn preview(kind: Kind, text: &str) -> String {
    const MAX_BYTES: usize = 160;
    if kind == Kind::Photo {
        return "Photo".to_owned();
    }
    let text = text.trim();
    if text.len() <= MAX_BYTES {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_BYTES - '…'.len_utf8())])
}

/// A number generator for a part of a seed: parts do not shift each other.
pub(super) fn random(seed: u64, part: &str) -> Rng {
    // FNV-1a.
    let hash = part
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash)
}

/// What operators write holds this, so that it is known anywhere else.
pub(super) fn canary(organization: &str) -> String {
    format!("canary.{organization}")
}

const WORDS: [&str; 8] = ["blue", "größer", "👍🏽", "stock", "“today”", "\\u0041", "<b>", "São Paulo"];

fn words(random: &mut Rng) -> String {
    // Now and then longer than a preview.
    let count = if random.u8(0..8) == 0 { random.usize(40..120) } else { random.usize(1..6) };
    (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect::<Vec<_>>().join(" ")
}

impl World {
    /// Everything about a seed; `now_ms` is when it begins.
    pub(super) fn new(seed: u64, events: usize, now_ms: i64) -> Self {
        let random = &mut random(seed, "world");
        let mut world =
            Self { seed, organizations: Vec::new(), accounts: Vec::new(), customers: Vec::new(), events: Vec::new() };
        for index in 0..random.usize(3..6) {
            world.organizations.push(format!("o{seed}-{index}"));
            let mut has_any = false;
            for platform in PLATFORMS {
                if random.u8(0..3) > 0 || (!has_any && platform == Platform::Facebook) {
                    has_any = true;
                    let fate = match random.u8(0..8) {
                        0 | 1 => Fate::Rotates,
                        2 => Fate::Pauses,
                        _ => Fate::Stays,
                    };
                    world.add_account(platform, index, None, fate);
                }
            }
            if random.bool() {
                world.add_account(Platform::Website, index, None, Fate::Stays);
            }
        }
        // Two organizations that want the same account, and have another one each.
        if random.u8(0..3) > 0 {
            let moving = PLATFORMS[random.usize(..3)];
            let others: Vec<Platform> = PLATFORMS.into_iter().filter(|platform| *platform != moving).collect();
            let first = world.organizations.len();
            for index in [first, first + 1] {
                world.organizations.push(format!("o{seed}-{index}"));
                world.add_account(others[random.usize(..2)], index, None, Fate::Stays);
            }
            world.add_account(moving, first, Some(first + 1), Fate::Moves);
        }
        for account in 0..world.accounts.len() {
            for _ in 0..random.usize(1..5) {
                world.add_customer(account, random);
            }
        }
        world.tell(events, now_ms, random);
        world
    }

    fn add_account(&mut self, platform: Platform, owner: usize, rival: Option<usize>, fate: Fate) {
        let id = format!("7{:09}{:03}", self.seed % 1_000_000_000, self.accounts.len());
        self.accounts.push(Account { platform, id, owner, rival, fate });
    }

    fn add_customer(&mut self, account: usize, random: &mut Rng) {
        let number = self.customers.len();
        let platform = self.accounts[account].platform;
        // What came while the account changed hands may stand in two organizations, or in none: one id keeps that simple.
        let has_several_ids = matches!(self.accounts[account].fate, Fate::Stays | Fate::Rotates) && random.bool();
        let (phones, user) = match platform {
            Platform::Whatsapp => {
                let phones = match random.u8(0..4) {
                    0 => vec![format!("55119{:08}", 70_000_000 + number), format!("5511{:08}", 70_000_000 + number)],
                    _ => vec![format!("4917{number:08}")],
                };
                (phones, has_several_ids.then(|| format!("DE.{number:010}")))
            }
            Platform::Instagram | Platform::Facebook => (Vec::new(), Some(format!("73{number:014}"))),
            Platform::Website => (Vec::new(), Some(format!("visitor-{number}"))),
        };
        self.customers.push(Customer { account, phones, user, name: format!("Customer {number}") });
    }

    fn tell(&mut self, events: usize, now_ms: i64, random: &mut Rng) {
        const HOUR_MS: i64 = 60 * 60 * 1000;
        // Some write now, and the provider's clock may be ahead of ours; what others wrote comes hours later. Where an account changes
        // hands, what comes late is nobody's.
        let moves = |customer: &Customer| self.accounts[customer.account].fate == Fate::Moves;
        let lives = |customer| if moves(customer) { random.u8(0..3) > 0 } else { random.u8(0..3) == 0 };
        let is_live: Vec<bool> = self.customers.iter().map(lives).collect();
        let mut clocks: Vec<i64> = is_live
            .iter()
            .map(|is_live| if *is_live { now_ms } else { now_ms - random.i64(1..20) * HOUR_MS } / 1000 * 1000)
            .collect();
        while self.events.len() < events {
            let customer = random.usize(..self.customers.len());
            let account = self.customers[customer].account;
            let platform = self.accounts[account].platform;
            // A person writes one after the other, and now and then several in one second.
            clocks[customer] += match random.u8(0..4) {
                0 => 0,
                1 => 1000,
                _ if is_live[customer] => 0,
                _ => random.i64(1..40) * 1000,
            };
            let milliseconds = if platform == Platform::Whatsapp { 0 } else { random.i64(0..1000) };
            let kind = match (platform, random.u8(0..100)) {
                (Platform::Website, _) => Kind::Text,
                (_, 0..=1) => Kind::WithoutId,
                (_, 2) => Kind::NotObject,
                (_, 3..=4) => Kind::Unnamed,
                (_, 5) => Kind::NotJson,
                (_, 6..=11) => Kind::Echo,
                (_, 12..=16) => Kind::Photo,
                _ => Kind::Text,
            };
            let number = self.events.len();
            let mark = format!("«{}.{number}»", self.seed);
            let account = (platform == Platform::Website || random.u8(0..60) > 0).then_some(account);
            let shown = shown(&self.customers[customer], platform, random);
            let at = clocks[customer] + milliseconds;
            // Where an account changes hands, the time tells whose it is.
            let is_retold = account.is_some_and(|account| self.accounts[account].fate != Fate::Moves)
                && platform != Platform::Website
                && !kind.is_poison()
                && random.u8(0..3) == 0;
            let later = if platform == Platform::Whatsapp { 1000 } else { 7 };
            self.events.push(Event {
                account: account.filter(|_| kind != Kind::NotJson),
                customer,
                shown,
                kind,
                id: format!("wamid.{}.{number}", self.seed),
                text: format!("{mark} {}", words(random)),
                mark,
                at,
                also_at: is_retold.then_some(at + later),
            });
        }
    }
}

fn shown(customer: &Customer, platform: Platform, random: &mut Rng) -> Shown {
    let phone = (!customer.phones.is_empty()).then(|| customer.phones[random.usize(..customer.phones.len())].clone());
    match (phone, customer.user.clone()) {
        (Some(phone), Some(user)) if platform == Platform::Whatsapp => match random.u8(0..6) {
            0 => Shown { phone: Some(phone), user: Some(user) },
            1 | 2 => Shown { phone: None, user: Some(user) },
            _ => Shown { phone: Some(phone), user: None },
        },
        (phone, user) => Shown { phone, user },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_world() {
        let now_ms = 1_767_877_200_000;
        let told = |seed| format!("{:?}", World::new(seed, 200, now_ms));

        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }

    #[test]
    fn an_organization_has_one_account_on_a_platform() {
        for seed in 0..50 {
            let world = World::new(seed, 10, 1_767_877_200_000);
            for (index, account) in world.accounts.iter().enumerate() {
                let wants =
                    |other: &Account, organization| other.owner == organization || other.rival == Some(organization);
                let others = world.accounts[index + 1..].iter().filter(|other| other.platform == account.platform);
                for other in others {
                    assert!(!wants(other, account.owner), "seed {seed}: {account:?} {other:?}");
                    assert!(account.rival.is_none_or(|rival| !wants(other, rival)), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_long_text_previews_within_its_limit() {
        assert_eq!(preview(Kind::Text, " short "), "short");
        assert!(preview(Kind::Text, &"😀".repeat(100)).len() <= 160);
        assert_eq!(preview(Kind::Photo, "x"), "Photo");
    }
}
