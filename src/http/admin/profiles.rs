//! Handlers of `/debug/pprof/…`: CPU and heap profiles of the process in pprof format.

use std::time::Duration;

use hyper::Uri;
use hyper::header;
use hyper::header::HeaderValue;

use crate::http::http_response::HttpResponse;
use crate::http::problem::Problem;
use crate::http::{problem, respond};
use crate::profile::{ProfileError, Profiler};

const SECONDS: &str = "seconds";
/// Duration of a CPU profile by default, as in Go's servers.
const DEFAULT_SECONDS: u64 = 30;
const MAX_SECONDS: u64 = 60;

/// Takes a CPU profile: samples the running threads for `?seconds=N`.
pub async fn cpu(profiler: &Profiler, uri: &Uri, origin: &str) -> Result<HttpResponse, Problem> {
    let duration = duration(uri)?;
    let permit = profiler.cpu()?;
    let seconds = duration.as_secs();
    tracing::info!(
        event = "operator.cpu_profile_taken",
        origin,
        duration_s = seconds,
        "an operator takes a CPU profile"
    );
    let profile = permit.take_cpu(duration).await?;
    Ok(attachment(profile, "attachment; filename=\"forebay-cpu.pb.gz\""))
}

/// Takes a heap profile: the current allocations.
pub async fn heap(profiler: &Profiler, origin: &str) -> Result<HttpResponse, Problem> {
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
            Ok(given) if (1..=MAX_SECONDS).contains(&given) => seconds = given,
            _ => return wrong("Send a number of seconds, 1 to 60."),
        }
    }
    Ok(Duration::from_secs(seconds))
}

fn attachment(profile: Vec<u8>, disposition: &'static str) -> HttpResponse {
    let mut response = respond::bytes(HeaderValue::from_static("application/octet-stream"), profile);
    response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    response
}

impl From<ProfileError> for Problem {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Busy => {
                Self::new(&problem::PROFILE_RUNNING, "Try again when the other profile is finished.")
            }
            ProfileError::HeapOff => Self::new(
                &problem::HEAP_PROFILING_OFF,
                "Start the daemon with _RJEM_MALLOC_CONF=prof:true in its environment.",
            ),
            ProfileError::HeapNotBuilt => Self::new(
                &problem::HEAP_PROFILING_OFF,
                "This build cannot take heap profiles. They need the feature `jemalloc`.",
            ),
            ProfileError::Failed(reason) => {
                tracing::warn!(event = "profile.failed", error = reason, "cannot take a profile");
                Self::new(&problem::INTERNAL, "The profile could not be taken. The log has the reason.")
            }
        }
    }
}
