//! Rate limits that an operator sets at run time. The last change wins, on every daemon and after a restart.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY, truncated};
use crate::kv::Rate;
use crate::units::{Span, Timestamp};

/// Valid limits. A higher number than 1,000,000,000 would limit nothing.
pub(super) const LIMITS: RangeInclusive<u64> = 1..=1_000_000_000;
pub(super) const LIMIT_RULE: &str = "1 to 1000000000";
pub(super) const WINDOWS: RangeInclusive<Span> = Span::secs(1)..=Span::secs(86_400);
pub(super) const WINDOW_RULE: &str = "1s to 1day";
const MEMBERS: [&str; 3] = ["enabled", "limit", "window"];
/// Error messages repeat names of unknown members, cut to this length.
const MAX_SHOWN: usize = 64;

/// A limit that can be changed at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Whether requests are limited.
    pub enabled: bool,
    /// Maximum number of requests …
    pub limit: u64,
    /// … per this window.
    pub window: Span,
}

/// A limit that an operator changed at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Name of the limiter.
    pub limiter: &'static str,
    /// Time of the change.
    pub since: Timestamp,
    /// The setting in effect.
    pub setting: Setting,
    /// The configured setting.
    pub configured: Setting,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.enabled {
            true => write!(f, "{} in {}", self.limit, self.window),
            false => f.write_str("off"),
        }
    }
}

/// An invalid member of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// Name of the member.
    pub member: String,
    /// The rule that it violates.
    pub detail: String,
}

impl Setting {
    /// Reads a document as sent by a client. Returns all errors at once.
    pub fn read(members: &Map<String, Value>) -> Result<Self, Vec<SettingError>> {
        let mut faults = BoundedErrors::<SettingError, MAX_ERRORS_PER_BODY>::default();
        let mut wrong = |member: &str, detail: &str| {
            faults.push(SettingError { member: truncated(member, MAX_SHOWN), detail: detail.to_owned() });
        };
        let member = |name: &str| members.get(name).unwrap_or(&Value::Null);
        let enabled = member("enabled").as_bool();
        if enabled.is_none() {
            wrong("enabled", "It must be true or false.");
        }
        let limit = member("limit").as_u64().filter(|limit| LIMITS.contains(limit));
        if limit.is_none() {
            wrong("limit", &format!("It must be a whole number, {LIMIT_RULE}."));
        }
        let window = member("window").as_str().and_then(|text| text.parse().ok());
        let window = window.filter(|window| WINDOWS.contains(window));
        if window.is_none() {
            wrong("window", &format!("It must be a duration such as \"2m\", {WINDOW_RULE}."));
        }
        let unknown = members.keys().filter(|name| !MEMBERS.contains(&name.as_str()));
        for unknown in unknown.take(MAX_ERRORS_PER_BODY) {
            wrong(unknown, "No such field exists.");
        }
        match (enabled, limit, window) {
            (Some(enabled), Some(limit), Some(window)) if faults.is_empty() => {
                Ok(Self { enabled, limit, window })
            }
            _ => Err(faults.into_vec()),
        }
    }

    pub(super) fn rate(&self) -> Rate {
        Rate { limit: self.limit, window: self.window.0 }
    }
}

/// A setting, and the time from which it applies. A configured setting has the time 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TimestampedSetting {
    #[serde(flatten)]
    pub setting: Setting,
    /// Milliseconds since 1970.
    pub since: u64,
}

impl TimestampedSetting {
    pub fn configured(setting: Setting) -> Self {
        Self { setting, since: 0 }
    }

    /// A setting changed now. Its time is later than that of `before`, whatever the clocks say.
    pub fn changed(setting: Setting, before: &Self) -> Self {
        Self { setting, since: Timestamp::now().0.max(before.since + 1) }
    }

    pub fn encode(&self) -> Vec<u8> {
        // Serialising cannot fail: the documents' keys are strings.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` if another program wrote the value, or the limit is invalid.
    pub fn decode(value: &[u8]) -> Option<Self> {
        let dated: Self = serde_json::from_slice(value).ok()?;
        (LIMITS.contains(&dated.setting.limit) && WINDOWS.contains(&dated.setting.window)).then_some(dated)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: Value) -> Result<Setting, Vec<SettingError>> {
        Setting::read(document.as_object().unwrap())
    }

    #[test]
    fn a_displayed_setting_can_be_read_again() {
        let document = json!({"enabled": true, "limit": 500_000, "window": "2m"});
        let setting = read(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(setting).unwrap(), document);
        let dated = TimestampedSetting { setting, since: 7 };
        assert_eq!(TimestampedSetting::decode(&dated.encode()), Some(dated));
    }

    #[test]
    fn all_errors_are_reported_at_once() {
        let faults =
            read(json!({"enabled": "yes", "limit": 0, "window": "2 apples", "burst": 7})).unwrap_err();
        let members: Vec<_> = faults.iter().map(|fault| fault.member.as_str()).collect();
        assert_eq!(members, ["enabled", "limit", "window", "burst"]);
        assert_eq!(read(json!({})).unwrap_err().len(), 3);
        for (limit, window) in
            [(json!(1.5), "2m"), (json!(1_000_000_001), "2m"), (json!(1), "999ms"), (json!(1), "25h")]
        {
            let faults = read(json!({"enabled": true, "limit": limit, "window": window})).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
        }
    }

    #[test]
    fn the_number_of_reported_errors_is_limited() {
        let members = (0..10_000).map(|number| (format!("{number:0>200}"), Value::Null)).collect();
        let faults = Setting::read(&members).unwrap_err();
        assert_eq!(faults.len(), MAX_ERRORS_PER_BODY);
        assert!(faults.iter().all(|fault| fault.member.len() < 70));
    }

    #[test]
    fn a_change_is_newer_even_after_a_clock_set_back() {
        let setting = Setting { enabled: true, limit: 1, window: Span::secs(1) };
        let before = TimestampedSetting { setting, since: u64::MAX / 2 };
        assert!(TimestampedSetting::changed(setting, &before).since > before.since);
        assert_eq!(
            TimestampedSetting::decode(b"{\"enabled\":true,\"limit\":0,\"window\":\"1s\",\"since\":1}"),
            None
        );
    }
}
