//! `/debug/pprof/…`: profiles of the process, in the format of pprof.

use std::time::Duration;

use hyper::Uri;
use hyper::header;
use hyper::header::HeaderValue;

use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::{problem, respond};
use crate::profile::{ProfileError, Profiler};

const SECONDS: &str = "seconds";
/// As Go's servers do.
const DEFAULT_SECONDS: u64 = 30;
const MOST_SECONDS: u64 = 60;

/// Samples the threads that run for `?seconds=N`.
pub async fn cpu(profiler: &Profiler, uri: &Uri, origin: &str) -> Result<Answer, Problem> {
    let duration = duration(uri)?;
    let turn = profiler.cpu()?;
    let seconds = duration.as_secs();
    tracing::info!(
        event = "operator.cpu_profile_taken",
        origin,
        duration_s = seconds,
        "an operator takes a CPU profile"
    );
    let profile = turn.take_cpu(duration).await?;
    Ok(attachment(profile, "attachment; filename=\"forebay-cpu.pb.gz\""))
}

/// What is allocated.
pub async fn heap(profiler: &Profiler, origin: &str) -> Result<Answer, Problem> {
    let profile = profiler.heap()?.take_heap().await?;
    tracing::info!(event = "operator.heap_profile_taken", origin, "an operator took a heap profile");
    Ok(attachment(profile, "attachment; filename=\"forebay-heap.pb.gz\""))
}

fn duration(uri: &Uri) -> Result<Duration, Problem> {
    let mut seconds = DEFAULT_SECONDS;
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let wrong =
            |detail| Err(Problem::new(&problem::BAD_PARAMETER, detail).field(name.clone().into_owned()));
        if name != SECONDS {
            return wrong("The only parameter is `seconds`.");
        }
        match value.parse() {
            Ok(given) if (1..=MOST_SECONDS).contains(&given) => seconds = given,
            _ => return wrong("Send a number of seconds from 1 to 60."),
        }
    }
    Ok(Duration::from_secs(seconds))
}

fn attachment(profile: Vec<u8>, disposition: &'static str) -> Answer {
    let mut answer = respond::bytes(HeaderValue::from_static("application/octet-stream"), profile);
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    answer
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Busy => Self::new(&problem::PROFILE_RUNNING, "Try again when it is finished."),
            ProfileError::HeapOff => Self::new(
                &problem::HEAP_PROFILING_OFF,
                "Start the daemon with _RJEM_MALLOC_CONF=prof:true in its environment.",
            ),
            ProfileError::HeapNotBuilt => Self::new(
                &problem::HEAP_PROFILING_OFF,
                "This build cannot take heap profiles: it needs the feature `jemalloc`.",
            ),
            ProfileError::Failed(reason) => {
                tracing::warn!(event = "profile.failed", error = reason, "a profile could not be taken");
                Self::new(&problem::INTERNAL, "The profile could not be taken. The log has the reason.")
            }
        }
    }
}
