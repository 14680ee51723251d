//! Stable names of problems. Alert rules and runbooks depend on them.

use serde::{Serialize, Serializer};

/// Severity of a problem. It determines the level of the log line at the start of the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is degraded, or an operator changed it.
    Warning,
    /// Commands are refused, or records need an operator.
    Error,
}

macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $dependency:literal $title:literal;)*) => {
        /// Kind of a problem. The order is the order of importance: the first problem appears in systemd's status line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name of the code in documents, metrics and log lines.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Short title for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// Severity of the problem.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// Dependency that is unavailable during this problem, if any.
            pub const fn dependency(self) -> Option<&'static str> {
                let name = match self { $(Self::$variant => $dependency,)* };
                if name.is_empty() { None } else { Some(name) }
            }
        }
    };
}

codes! {
    LogPoisoned "log_poisoned" Error "" "log failed";
    DiskReserveReached "disk_reserve_reached" Error "" "disk reserve reached";
    BacklogFull "backlog_full" Error "" "backlog full";
    LogRestored "log_restored" Error "" "log is a restored copy";
    LogDamaged "log_damaged" Error "" "log damaged";
    UsersNotServed "users_not_served" Error "" "users not served";
    KafkaUnreachable "kafka_unreachable" Warning "kafka" "Kafka unreachable";
    KafkaTlsFailed "kafka_tls_failed" Error "kafka" "TLS with Kafka failed";
    KafkaAuthenticationFailed "kafka_authentication_failed" Error "kafka" "Kafka authentication failed";
    KafkaAuthorizationFailed "kafka_authorization_failed" Error "" "Kafka authorization failed";
    KafkaTopicUnavailable "kafka_topic_unavailable" Warning "" "Kafka topic unavailable";
    DatabaseUnavailable "database_unavailable" Warning "database" "database unavailable";
    RedisUnavailable "redis_unavailable" Warning "redis" "Redis unavailable";
    DrainPaused "drain_paused" Warning "" "delivery paused";
    DrainStalled "drain_stalled" Warning "" "delivery stalled";
    ConsumerStalled "consumer_stalled" Warning "" "consumer stalled";
    UsersNotApplied "users_not_applied" Error "" "user commands not applied";
    DeadLetters "dead_letters" Warning "" "dead letters stored";
    RecordsParked "records_parked" Warning "" "records parked";
    CertificateUnreadable "certificate_unreadable" Warning "" "certificate or key unreadable";
    CertificateExpiring "certificate_expiring" Warning "" "certificate expires soon";
    OldestAgeHigh "oldest_age_high" Warning "" "oldest record too old";
    BacklogHigh "backlog_high" Warning "" "backlog high";
    RateLimitChanged "rate_limit_changed" Warning "" "rate limit changed at run time";
}

impl Code {
    /// Link to the section of the runbook.
    pub fn runbook(self) -> String {
        format!("{RUNBOOK}#{}", self.as_str())
    }
}

/// Page with one section per code.
const RUNBOOK: &str = "docs/runbook.md";

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_section_in_the_runbook() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md");
        let page = std::fs::read_to_string(page).unwrap();
        for code in Code::ALL {
            let heading = format!("## {}", code.as_str());
            assert!(page.lines().any(|line| line.trim_end() == heading), "no section {heading}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
