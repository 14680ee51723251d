//! Plots over time as inline SVG, without scripts or external resources, in the colours of the page.

use std::fmt::Write;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;

/// A line of a plot.
pub struct Series {
    /// Name in the legend.
    pub name: &'static str,
    /// Colour and dashes: a number of the style sheet, from 0 to 3.
    pub style: usize,
    /// One value per interval. `None` interrupts the line.
    pub values: Vec<Option<f64>>,
}

/// The scale of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// In powers of ten.
    Log,
}

/// A plot over time.
pub struct Plot<'a> {
    /// Title, with the unit.
    pub title: &'a str,
    /// Length of an interval, in seconds.
    pub interval: f64,
    /// Scale of the values.
    pub scale: Scale,
    /// Lines, at most four.
    pub series: Vec<Series>,
    /// Start of each phase, in seconds, and its name.
    pub phases: &'a [(f64, String)],
}

impl Plot<'_> {
    /// The plot as an SVG element.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<div class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"15\">{title}</text>\n",
            title = escape(self.title)
        );
        self.legend(&mut svg);
        let axis =
            Axis::of(self.scale, self.series.iter().flat_map(|series| &series.values).flatten().copied());
        for (value, label) in axis.ticks() {
            let y = axis.y(value);
            put(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{x}\" y=\"{base:.1}\">{label}</text>\n",
                    right = WIDTH - RIGHT,
                    x = LEFT - 8.0,
                    base = y + 4.0
                ),
            );
        }
        self.times(&mut svg);
        for series in &self.series {
            self.line(&mut svg, series, &axis);
        }
        self.values(&mut svg);
        svg.push_str("</svg></div>\n");
        svg
    }

    fn legend(&self, svg: &mut String) {
        let mut x = WIDTH - RIGHT;
        for series in self.series.iter().rev() {
            // The approximate width of the letters.
            x -= 7.5 * series.name.len() as f64 + 34.0;
            put(
                svg,
                format_args!(
                    "<line class=\"s{style}\" x1=\"{x}\" x2=\"{end}\" y1=\"11\" y2=\"11\"/><text x=\"{text}\" y=\"15\">{name}</text>\n",
                    end = x + 18.0,
                    text = x + 23.0,
                    style = series.style,
                    name = escape(series.name)
                ),
            );
        }
    }

    fn intervals(&self) -> usize {
        self.series.iter().map(|series| series.values.len()).max().unwrap_or(0)
    }

    fn seconds(&self) -> f64 {
        self.intervals().max(1) as f64 * self.interval
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (seconds / self.seconds()).clamp(0.0, 1.0)
    }

    /// Adds time labels and the starts of phases.
    fn times(&self, svg: &mut String) {
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        for (start, name) in self.phases {
            let x = self.x(*start);
            put(
                svg,
                format_args!(
                    "<line class=\"phase\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\
                 <text class=\"phase\" x=\"{text:.1}\" y=\"{y}\">{name}</text>\n",
                    text = x + 4.0,
                    y = top + 11.0,
                    name = escape(name)
                ),
            );
        }
        let step = round_step(self.seconds() / 6.0).max(1.0);
        let mut seconds = 0.0;
        while seconds <= self.seconds() {
            put(
                svg,
                format_args!(
                    "<text class=\"middle\" x=\"{x:.1}\" y=\"{y}\">{seconds} s</text>\n",
                    x = self.x(seconds),
                    y = bottom + 18.0
                ),
            );
            seconds += step;
        }
    }

    fn line(&self, svg: &mut String, series: &Series, axis: &Axis) {
        for run in series.values.iter().enumerate().collect::<Vec<_>>().split(|(_, value)| value.is_none()) {
            let mut points = String::new();
            for (at, value) in run {
                let middle = (*at as f64 + 0.5) * self.interval;
                put(
                    &mut points,
                    format_args!("{:.1},{:.1} ", self.x(middle), axis.y(value.unwrap_or_default())),
                );
            }
            // One point has no length: a round line end makes it a dot.
            if run.len() == 1 {
                points = points.repeat(2);
            }
            if !run.is_empty() {
                let (style, points) = (series.style, points.trim_end());
                put(svg, format_args!("<polyline class=\"s{style}\" points=\"{points}\"/>\n"));
            }
        }
    }

    /// Adds the values of each interval, shown under the pointer.
    fn values(&self, svg: &mut String) {
        for at in 0..self.intervals() {
            let start = at as f64 * self.interval;
            let (left, right) = (self.x(start), self.x(start + self.interval));
            put(
                svg,
                format_args!(
                    "<rect class=\"spot\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>{start} s",
                    width = right - left,
                    height = HEIGHT - TOP - BOTTOM
                ),
            );
            for series in &self.series {
                if let Some(Some(value)) = series.values.get(at) {
                    put(svg, format_args!("\n{} {}", escape(series.name), number(*value)));
                }
            }
            svg.push_str("</title></rect>\n");
        }
    }
}

/// The vertical axis.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn of(scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        match scale {
            Scale::Linear => Self { scale, low: 0.0, high: if high > 0.0 { high * 1.05 } else { 1.0 } },
            Scale::Log => {
                let low = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
                let low = if low.is_finite() { low } else { 1.0 };
                let low = 10_f64.powf(low.log10().floor());
                let high = 10_f64.powf(high.max(low).log10().ceil());
                Self { scale, low, high: if high > low { high } else { low * 10.0 } }
            }
        }
    }

    fn y(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => value / self.high,
            Scale::Log => (value.max(self.low) / self.low).log10() / (self.high / self.low).log10(),
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut values = Vec::new();
        match self.scale {
            Scale::Linear => {
                let step = round_step(self.high / 5.0);
                values.extend((0..=6).map(|tick| f64::from(tick) * step));
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10().round() as i32;
                values.extend((0..=decades).map(|decade| self.low * 10_f64.powi(decade)));
            }
        }
        values.retain(|value| *value <= self.high * 1.000_001);
        values.into_iter().map(|value| (value, number(value))).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller.
fn round_step(step: f64) -> f64 {
    if step <= 0.0 || !step.is_finite() {
        return 1.0;
    }
    let decade = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * decade >= step * 0.999_999);
    factor.unwrap_or(10.0) * decade
}

/// A number with about three digits.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// External text, escaped for HTML.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Appends text. Writing to a string cannot fail.
pub fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ticks_are_round_and_cover_the_values() {
        let linear = Axis::of(Scale::Linear, [3.0, 950.0].into_iter());
        let labels: Vec<_> = linear.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "200", "400", "600", "800"]);
        let log = Axis::of(Scale::Log, [0.3, 42.0].into_iter());
        let labels: Vec<_> = log.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0.1", "1", "10", "100"]);
        assert_eq!((log.y(0.1), log.y(100.0)), (HEIGHT - BOTTOM, TOP));
    }

    #[test]
    fn gaps_interrupt_a_line_and_text_is_escaped() {
        let series = Series { name: "p<50>", style: 0, values: vec![Some(1.0), Some(2.0), None, Some(3.0)] };
        let phases = [(0.0, "\"a\" & b".to_owned())];
        let plot =
            Plot { title: "t", interval: 1.0, scale: Scale::Log, series: vec![series], phases: &phases };
        let svg = plot.svg();
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert!(
            svg.contains("p&lt;50&gt;") && svg.contains("&quot;a&quot; &amp; b") && !svg.contains("NaN"),
            "{svg}"
        );
    }

    #[test]
    fn a_run_without_a_value_has_a_plot() {
        let series = vec![Series { name: "p50", style: 0, values: Vec::new() }];
        for scale in [Scale::Linear, Scale::Log] {
            let plot = Plot { title: "t", interval: 1.0, scale, series: Vec::new(), phases: &[] };
            assert!(!plot.svg().contains("NaN"));
        }
        let plot = Plot { title: "t", interval: 1.0, scale: Scale::Log, series, phases: &[] };
        assert!(!plot.svg().contains("NaN"));
    }
}
