//! A run: connect, register users, send due requests, wait for the responses, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use cli_support::Interrupt;

use crate::admin::{Admin, DaemonStats};
use crate::drive::{RunOutcome, drive};
use crate::http::{Server, ServerConnection};
use crate::levels;
use crate::plan::RunPlan;
use crate::progress::registrations;
use crate::report::{
    DeliveryStats, Document, Latency, LevelsReport, LoginCounts, MeasuredStats, SCHEMA, ToolStats,
};

/// Delay until an interruption is noticed before and after the requests.
const TICK: Duration = Duration::from_millis(100);
/// Timeout for the first connection, and for the first token.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a run.
pub struct FinishedRun {
    /// The report.
    pub document: Document,
    /// Why requested statistics are missing.
    pub missing: Option<anyhow::Error>,
}

/// Executes the run and creates its report.
pub async fn run(plan: &RunPlan<'_>, interrupt: &Interrupt) -> anyhow::Result<FinishedRun> {
    let server = plan.endpoint.resolve(&plan.trust).await?;
    let mut admin = match &plan.planned.common.report.admin {
        Some(endpoint) => Some(Admin::new(endpoint, &plan.trust).await?),
        None => None,
    };
    tokio::select! {
        ready = connect_and_register(plan, &server) => ready?,
        () = interrupted(interrupt) => bail!("interrupted before the run"),
    }
    let before = match &mut admin {
        Some(admin) => Some(admin.stats().await?),
        None => None,
    };
    let started_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let mut driven = drive(plan, &server, interrupt).await?;
    let reached = match (&mut admin, before) {
        (Some(admin), Some(before)) => Some(delivery_stats(plan, admin, before, interrupt).await),
        _ => None,
    };
    // The requests are reported even if the admin listener fails afterwards.
    let (kafka, missing) = match reached.transpose() {
        Ok(None) => (None, None),
        Ok(Some((kafka, ended_early))) => {
            driven.interrupted |= ended_early;
            (Some(kafka), None)
        }
        Err(error) => (None, Some(error)),
    };
    Ok(FinishedRun { document: document(plan, driven, kafka, started_at), missing })
}

/// Delivery to Kafka, and whether an interruption ended the wait for the rest.
async fn delivery_stats(
    plan: &RunPlan<'_>,
    admin: &mut Admin,
    before: DaemonStats,
    interrupt: &Interrupt,
) -> anyhow::Result<(DeliveryStats, bool)> {
    let after = admin.stats().await?;
    let Some(within) = plan.planned.common.report.await_drained else {
        return Ok((before.delta_to(&after, None), false));
    };
    let (drained, ended_early) = tokio::select! {
        drained = admin.await_drained(within) => (drained?, false),
        () = interrupted(interrupt) => (None, true),
    };
    Ok((before.delta_to(&after, drained), ended_early))
}

/// Connects once, so that a wrong address fails before the run; obtains the first token; registers the users.
async fn connect_and_register(plan: &RunPlan<'_>, server: &Arc<Server>) -> anyhow::Result<()> {
    let mut link = ServerConnection::new(Arc::clone(server));
    let url = plan.endpoint.at("");
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, link.connect()).await;
    let connected = connected.with_context(|| format!("cannot connect to {url} within 10 s"))?;
    connected.map_err(|failure| anyhow::anyhow!("cannot connect to {url}: {}", failure.detail()))?;
    if let Some(session) = &plan.operations.session {
        let first = tokio::time::timeout(CONNECT_TIMEOUT, session.bearer(&mut link)).await;
        let first = first.context("no token within 10 s")?;
        first.map_err(|failure| anyhow::anyhow!("no token: {}", failure.detail()))?;
    }
    if let Some(population) = &plan.operations.population {
        let bar = registrations(population.size());
        let moved = bar.clone();
        population.register(server, &plan.operations.headers, move || moved.inc(1)).await?;
        bar.finish_and_clear();
    }
    Ok(())
}

async fn interrupted(interrupt: &Interrupt) {
    while !interrupt.was_received() {
        tokio::time::sleep(TICK).await;
    }
}

fn document(
    plan: &RunPlan<'_>,
    driven: RunOutcome,
    kafka: Option<DeliveryStats>,
    started_at: String,
) -> Document {
    let profile = &plan.planned.profile;
    let measured =
        MeasuredStats::from_recorder(&driven.recorder, profile, &plan.operations.names(), driven.ended);
    let levels = plan.levels.as_ref().map(|levels| {
        let checks = levels::check_levels(levels, &measured);
        LevelsReport { met: checks.iter().all(|check| check.met), checks }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let logins = &plan.logins;
    Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        started_at,
        interrupted: driven.interrupted,
        settings: plan.settings.clone(),
        total: measured.total,
        phases: measured.phases,
        operations: measured.operations,
        interval_seconds: measured.interval.as_secs_f64(),
        timeline: measured.timeline,
        warm_up: measured.warm_up,
        logins: LoginCounts {
            first: count(&logins.first),
            before_expiry: count(&logins.before_expiry),
            after_401: count(&logins.after_401),
        },
        kafka,
        tool: ToolStats {
            cpu_seconds: driven.cpu.as_secs_f64(),
            cpu_micros_per_request: driven.cpu.as_secs_f64() * 1e6 / driven.requests.max(1) as f64,
            lateness_ms: Latency::from_histogram(&driven.lateness),
        },
        levels,
    }
}
