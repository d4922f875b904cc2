//! Line charts over time, as SVG: a few of them below each other, over one axis. Light or dark as the reader's system is.

use std::fmt::Write as _;

use super::report::float;

const WIDTH: f64 = 900.0;
/// Left of the plots: the numbers of the vertical axes.
const LEFT: f64 = 60.0;
/// Where titles begin.
const MARGIN: f64 = 16.0;
/// Where the plots end, and the legends begin after a gap.
const RIGHT: f64 = 690.0;
const TOP: f64 = 96.0;
const PLOT_HEIGHT: f64 = 132.0;
/// Between plots: the title of the next.
const GAP: f64 = 48.0;
/// Below the last plot: the horizontal axis and the note.
const BOTTOM: f64 = 84.0;
/// Between the lines of a legend.
const LEGEND_STEP: f64 = 22.0;
/// About as many intervals of a vertical and of the horizontal axis.
const INTERVALS: f64 = 4.0;
const INTERVALS_ACROSS: f64 = 10.0;

/// Text and lines; colours of both modes keep apart for readers who see few colours.
const STYLE: &str = "
  svg { --paper: #fcfcfb; --ink: #1f1e1b; --faint: #63625d; --grid: #e3e2dd; --shade: #f1f0ec;
    --blue: #2a78d6; --orange: #d95a22; --green: #0f8f63; --violet: #6a4fc4; --red: #c8334f; --amber: #b98500; --grey: #77766f; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #1a1a19; --ink: #f2f1ec; --faint: #b3b2aa; --grid: #363632; --shade: #242422;
      --blue: #5b9ef0; --orange: #f0844f; --green: #35c08e; --violet: #a08cf0; --red: #f0728a; --amber: #e0b040; --grey: #a5a49c; }
  }
  text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; fill: var(--ink); }
  .title { font-size: 18px; font-weight: 600; }
  .name { font-weight: 600; }
  .faint { fill: var(--faint); }
  .small { font-size: 12px; }
  .paper { fill: var(--paper); }
  .shade { fill: var(--shade); }
  .grid { stroke: var(--grid); stroke-width: 1; }
  .axis { stroke: var(--faint); stroke-width: 1; }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
";

/// Charts below each other.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) note: String,
    /// What the horizontal axis counts, and its end.
    pub(super) across: (&'static str, f64),
    pub(super) bands: Vec<Band>,
    pub(super) plots: Vec<Plot>,
}

/// A named part of the horizontal axis.
pub(super) struct Band {
    pub(super) name: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// Lines over one vertical axis, which begins at zero.
pub(super) struct Plot {
    /// With its unit.
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
}

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// Readable in both modes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Blue,
    Orange,
    Green,
    Violet,
    Red,
    Amber,
    Grey,
}

impl Colour {
    fn variable(self) -> &'static str {
        match self {
            Self::Blue => "var(--blue)",
            Self::Orange => "var(--orange)",
            Self::Green => "var(--green)",
            Self::Violet => "var(--violet)",
            Self::Red => "var(--red)",
            Self::Amber => "var(--amber)",
            Self::Grey => "var(--grey)",
        }
    }
}

/// From values to places: `0..=end` lies between two coordinates.
#[derive(Debug, Clone, Copy)]
struct Scale {
    end: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn place(self, value: f64) -> f64 {
        self.from + (self.to - self.from) * value / self.end
    }
}

impl Chart {
    pub(super) fn svg(&self) -> String {
        let height = TOP + float(self.plots.len()) * (PLOT_HEIGHT + GAP) - GAP + BOTTOM;
        let across = Scale { end: self.across.1, from: LEFT, to: RIGHT };
        let mut svg = Svg::default();
        svg.text((MARGIN, 30.0), "title", "start", &self.title);
        svg.text((MARGIN, 52.0), "faint", "start", &self.subtitle);
        for (index, plot) in self.plots.iter().enumerate() {
            let top = TOP + float(index) * (PLOT_HEIGHT + GAP);
            svg.bands(&self.bands, across, top, index == 0);
            svg.plot(plot, across, top);
        }
        let bottom = height - BOTTOM;
        svg.across(self.across.0, across, bottom);
        svg.text((MARGIN, height - 16.0), "faint small", "start", &self.note);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
            <title>{}</title>\n<style>{STYLE}</style>\n\
            <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n{}</svg>\n",
            escape(&self.title),
            svg.0
        )
    }
}

/// What is drawn so far.
#[derive(Default)]
struct Svg(String);

impl Svg {
    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _: std::fmt::Result = writeln!(self.0, "{element}");
    }

    fn text(&mut self, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
        let text = escape(text);
        self.element(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn straight(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.element(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    fn line(&mut self, line: &Line, path: &str) {
        let (colour, dashes) = (line.colour.variable(), if line.dashed { " stroke-dasharray=\"5 4\"" } else { "" });
        self.element(format_args!("<path class=\"line\" style=\"stroke: {colour}\"{dashes} d=\"{path}\"/>"));
    }

    /// Every other band is shaded; the names stand above the first plot.
    fn bands(&mut self, bands: &[Band], across: Scale, top: f64, named: bool) {
        for (index, band) in bands.iter().enumerate() {
            let (left, right) = (across.place(band.from), across.place(band.to));
            if index % 2 == 0 {
                let width = right - left;
                self.element(format_args!(
                    "<rect class=\"shade\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{PLOT_HEIGHT}\"/>"
                ));
            }
            if named {
                self.text((f64::midpoint(left, right), top + 16.0), "faint small", "middle", band.name);
            }
        }
    }

    fn plot(&mut self, plot: &Plot, across: Scale, top: f64) {
        self.text((MARGIN, top - 12.0), "name", "start", &plot.title);
        let values = plot.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let ticks = ticks(values.fold(0.0, f64::max), INTERVALS);
        let end = ticks.last().copied().unwrap_or(1.0);
        let up = Scale { end, from: top + PLOT_HEIGHT, to: top };
        for tick in &ticks {
            let y = up.place(*tick);
            self.straight("grid", (LEFT, y), (RIGHT, y));
            self.text((LEFT - 8.0, y + 4.5), "faint", "end", &number(*tick));
        }
        for line in &plot.lines {
            self.line(line, &path(&line.points, across, up));
        }
        for (index, line) in plot.lines.iter().enumerate() {
            let (x, y) = (RIGHT + 18.0, top + 14.0 + LEGEND_STEP * float(index));
            self.line(line, &format!("M{x:.1} {y:.1}H{:.1}", x + 24.0));
            self.text((x + 32.0, y + 4.5), "", "start", &line.name);
        }
    }

    fn across(&mut self, label: &str, across: Scale, y: f64) {
        self.straight("axis", (LEFT, y), (RIGHT, y));
        for tick in ticks(across.end, INTERVALS_ACROSS).into_iter().filter(|tick| *tick <= across.end) {
            let x = across.place(tick);
            self.straight("axis", (x, y), (x, y + 5.0));
            self.text((x, y + 20.0), "faint", "middle", &number(tick));
        }
        self.text((f64::midpoint(LEFT, RIGHT), y + 42.0), "", "middle", label);
    }
}

/// Round numbers from zero to the first that is not below `most`, in about so many steps.
fn ticks(most: f64, intervals: f64) -> Vec<f64> {
    if most <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = most / intervals;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let mut ticks = vec![0.0];
    let mut count = 0.0;
    while count * step < most * 0.999 {
        count += 1.0;
        ticks.push(count * step);
    }
    ticks
}

/// Without needless digits, in groups of three.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let groups: Vec<&str> =
        whole.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",") + fraction
}

fn path(points: &[(f64, f64)], across: Scale, up: Scale) -> String {
    let mut path = String::new();
    for (x, y) in points {
        let command = if path.is_empty() { 'M' } else { 'L' };
        let _: std::fmt::Result = write!(path, "{command}{:.1} {:.1}", across.place(*x), up.place(*y));
    }
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let line = Line { name: "p99 < 5".to_owned(), colour: Colour::Blue, dashed: false, points };
        Chart {
            title: "Load & memory".to_owned(),
            subtitle: String::new(),
            note: String::new(),
            across: ("minutes", 10.0),
            bands: vec![Band { name: "alone", from: 0.0, to: 5.0 }],
            plots: vec![Plot { title: "ms".to_owned(), lines: vec![line] }],
        }
    }

    #[test]
    fn an_axis_ends_at_a_round_number_above_all_values() {
        assert_eq!(ticks(7.3, 4.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(8.0, 4.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(404.0, 4.0), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(ticks(10.0, 10.0).len(), 11);
        assert_eq!(ticks(0.0, 4.0), [0.0, 1.0]);
    }

    #[test]
    fn values_lie_between_the_ends_of_their_scale() {
        let up = Scale { end: 8.0, from: 200.0, to: 100.0 };
        let across = Scale { end: 10.0, from: 0.0, to: 500.0 };

        let path = path(&[(0.0, 0.0), (5.0, 4.0), (10.0, 8.0)], across, up);

        assert_eq!(path, "M0.0 200.0L250.0 150.0L500.0 100.0");
    }

    #[test]
    fn numbers_have_no_needless_digits_and_their_thousands_apart() {
        let numbers = [0.0, 0.25, 20.0, 500.0, 1_000.0, 1_234_567.5];

        assert_eq!(numbers.map(number), ["0", "0.25", "20", "500", "1,000", "1,234,567.5"]);
    }

    #[test]
    fn names_are_text_and_a_chart_without_values_is_drawn_too() {
        let svg = chart(Vec::new()).svg();

        assert!(svg.contains(">Load &amp; memory</text>"));
        assert!(svg.contains(">p99 &lt; 5</text>"));
        assert!(!svg.contains("NaN"), "{svg}");
        assert!(!chart(vec![(0.0, 0.0), (10.0, 0.0)]).svg().contains("NaN"));
    }
}
