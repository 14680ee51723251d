//! Sources of the list of problems, in addition to the log, ingest and the drain.

use std::sync::{Arc, OnceLock};

use crate::auth::Authenticator;
use crate::http::Tls;
use crate::kafka::ClusterHealth;
use crate::ratelimit::Limits;
use crate::sync::Mutex;
use crate::users::UnappliedMonitor;

use super::auth::Auth;
use super::problems::{Cluster, DiskChecks, FirstDamage, Pause};
use super::user_service::RunningUserService;
use super::wiring::Wiring;

/// The sources.
pub(super) struct ProblemSources {
    /// The configured brokers, and the identity that the daemon presents to them.
    pub(super) cluster: Cluster,
    /// Empty until the workers run, and with an embedded broker.
    pub(super) kafka: OnceLock<ClusterHealth>,
    pub(super) pause: Mutex<Option<Pause>>,
    pub(super) damage: Arc<FirstDamage>,
    pub(super) watched: DiskChecks,
    /// Why users are not served, if they are not.
    pub(super) users_not_served: Option<String>,
    pub(super) unapplied: Option<Arc<UnappliedMonitor>>,
    pub(super) limits: Limits,
    pub(super) authenticator: Authenticator,
    pub(super) tls: Option<Tls>,
}

impl ProblemSources {
    /// Creates the sources. Called before delivery starts.
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
