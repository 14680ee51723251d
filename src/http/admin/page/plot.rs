//! Calculates the SVG geometry of the charts: lines, areas, periods with problems, and scales.

use std::fmt::Write;
use std::time::Duration;

use crate::history::{HOUR, HistoryView, Point, STEP};

/// Width of the image in its own units. The style sheet scales it.
pub const WIDTH: f64 = 720.0;
/// Height of the image in its own units.
pub const HEIGHT: f64 = 100.0;

/// Maximum distance between two connected points. If points are further apart, nothing was recorded between them.
const GAP: Duration = Duration::from_secs(3 * STEP.as_secs());

/// The period that the charts show: 10 or 30 minutes if no more is recorded, else one hour.
pub fn window(view: &HistoryView) -> Duration {
    let oldest = view.points.first().map(|point| view.now.at.saturating_duration_since(point.at));
    let shorter = [10, 30].map(|minutes| Duration::from_secs(minutes * 60)).into_iter();
    shorter.into_iter().find(|window| oldest.unwrap_or_default() <= *window).unwrap_or(HOUR)
}

/// Horizontal position of a point. `None` if the point is left of the image.
fn x(view: &HistoryView, point: &Point) -> Option<f64> {
    let ago = view.now.at.saturating_duration_since(point.at).as_secs_f64();
    Some(WIDTH * (1.0 - ago / window(view).as_secs_f64())).filter(|x| *x >= 0.0)
}

fn y(value: f64, top: f64) -> f64 {
    HEIGHT * (1.0 - (value / top).clamp(0.0, 1.0))
}

/// The points with their horizontal positions, split at gaps.
fn continuous_runs(view: &HistoryView) -> Vec<Vec<(f64, Point)>> {
    let mut pieces: Vec<Vec<(f64, Point)>> = Vec::new();
    let mut last: Option<Point> = None;
    for point in &view.points {
        let Some(x) = x(view, point) else { continue };
        let follows = last.is_some_and(|last| point.at.saturating_duration_since(last.at) <= GAP);
        match pieces.last_mut().filter(|_| follows) {
            Some(piece) => piece.push((x, *point)),
            None => pieces.push(vec![(x, *point)]),
        }
        last = Some(*point);
    }
    pieces
}

/// The `d` attribute of a path along the values.
pub fn line(view: &HistoryView, top: f64, value: impl Fn(&Point) -> f64) -> String {
    let mut path = String::new();
    for piece in continuous_runs(view) {
        for (index, (x, point)) in piece.iter().enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            // A write to a string cannot fail.
            let _ = write!(path, "{step}{x:.1} {:.1}", y(value(point), top));
        }
        if let [(x, _)] = piece[..] {
            // A single point would be invisible.
            let _ = write!(path, "L{:.1} {:.1}", x - 1.0, y(value(&piece[0].1), top));
        }
    }
    path
}

/// The `d` attribute of a path around the area below the values.
pub fn area(view: &HistoryView, top: f64, value: impl Fn(&Point) -> f64) -> String {
    let mut path = String::new();
    for piece in continuous_runs(view) {
        let (Some((from, _)), Some((to, _))) = (piece.first(), piece.last()) else { continue };
        let _ = write!(path, "M{:.1} {HEIGHT}", from - 1.0);
        for (x, point) in &piece {
            let _ = write!(path, "L{x:.1} {:.1}", y(value(point), top));
        }
        let _ = write!(path, "L{to:.1} {HEIGHT}Z");
    }
    path
}

/// Start and end of each period with problems, as horizontal positions.
pub fn problem_periods(view: &HistoryView) -> Vec<(f64, f64)> {
    let mut bands: Vec<(f64, f64)> = Vec::new();
    for piece in continuous_runs(view) {
        let mut is_open = false;
        for (x, point) in piece {
            match bands.last_mut().filter(|_| is_open) {
                Some(band) if point.problems > 0 => band.1 = x,
                _ if point.problems > 0 => bands.push(((x - 1.0).max(0.0), x)),
                _ => {}
            }
            is_open = point.problems > 0;
        }
    }
    bands
}

/// Rounds up to the end of a scale whose half is a round number too: 2, 4 or 10 times a power of ten.
pub fn round_top(most: f64) -> f64 {
    // NaN gets the smallest scale.
    if most.is_nan() || most <= 2.0 {
        return 2.0;
    }
    let power = 10_f64.powi(most.log10().floor() as i32);
    [1.0, 2.0, 4.0, 10.0].into_iter().map(|step| step * power).find(|top| *top >= most).unwrap_or(most)
}

/// Rounds up to a duration in seconds whose half is round too.
pub fn round_span(most: f64) -> f64 {
    let rounds = [2.0, 10.0, 20.0, 60.0, 120.0, 600.0, 1_200.0, 3_600.0];
    let round = rounds.into_iter().find(|top| *top >= most);
    round.unwrap_or_else(|| round_top(most / 3_600.0) * 3_600.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        let tops = [0.0, f64::NAN, 1.0, 3.0, 40.0, 51.0, 1_200.0].map(round_top);
        assert_eq!(tops, [2.0, 2.0, 2.0, 4.0, 40.0, 100.0, 2_000.0]);
        assert_eq!([0.2, 12.0, 61.0, 5_000.0].map(round_span), [2.0, 20.0, 120.0, 7_200.0]);
    }
}
