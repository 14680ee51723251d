//! What the list of problems is made of, beside the log, ingest and the drain.

use std::sync::{Arc, OnceLock};

use crate::auth::Authenticator;
use crate::http::Tls;
use crate::kafka::ClusterHealth;
use crate::ratelimit::Limits;
use crate::sync::Mutex;
use crate::users::Unapplied;

use super::auth::Auth;
use super::problems::{Cluster, DiskChecks, FirstDamage, Pause};
use super::user_service::RunningUserService;
use super::wiring::Wiring;

/// What the list of problems is made of.
pub(super) struct ProblemSources {
    /// The brokers of the configuration, and how the daemon names itself to them.
    pub(super) cluster: Cluster,
    /// None before the workers run, and with an embedded broker.
    pub(super) kafka: OnceLock<ClusterHealth>,
    pub(super) pause: Mutex<Option<Pause>>,
    pub(super) damage: Arc<FirstDamage>,
    pub(super) watched: DiskChecks,
    /// Why users are not served, if so.
    pub(super) users_not_served: Option<String>,
    pub(super) unapplied: Option<Arc<Unapplied>>,
    pub(super) limits: Limits,
    pub(super) authenticator: Authenticator,
    pub(super) tls: Option<Tls>,
}

impl ProblemSources {
    /// Before anything is delivered.
    pub(super) fn new(
        wiring: &Wiring<'_>,
        service: Option<&RunningUserService>,
        users_not_served: Option<String>,
        auth: &Auth,
        tls: Option<Tls>,
    ) -> Self {
        Self {
            cluster: wiring.cluster(),
            kafka: OnceLock::new(),
            pause: Mutex::default(),
            damage: Arc::clone(&wiring.damage),
            watched: DiskChecks::default(),
            users_not_served,
            unapplied: service.map(|service| service.users.unapplied()),
            limits: auth.limits.clone(),
            authenticator: auth.authenticator.clone(),
            tls,
        }
    }
}
