//! Pictures of each style compared with kept ones. After a wanted change:
//! `UPDATE_GOLDEN=1 cargo test -p rookery-web golden`, then look at the files.

use super::testing::{FROM, bucket, field, request, rollup, with_buckets};
use super::{GraphRequest, Limits, Mark, Over, Percentile, Theme, png, svg};
use rookery_collector::history::Rollup;
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::path::Path;

/// The SVG must be the kept one; the PNG must look like it.
fn compare(name: &str, request: &GraphRequest<'_>) {
    let drawn = svg(request).expect("an SVG");
    let bitmap = png(request).expect("a PNG");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/graph");
    let (path, bitmap_path) = (folder.join(name), folder.join(name).with_extension("png"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &drawn).expect("the file can be written");
        std::fs::write(&bitmap_path, &bitmap).expect("the file can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("the kept picture");
    let differ = kept.lines().zip(drawn.lines()).position(|(a, b)| a != b);
    assert!(kept == drawn, "{name} differs from line {differ:?} on:\n{drawn}");
    let kept = Bitmap::read(&std::fs::read(&bitmap_path).expect("the kept bitmap"));
    if let Err(why) = alike(&kept, &Bitmap::read(&bitmap)) {
        panic!("{} differs: {why}", bitmap_path.display());
    }
}

/// How far two pictures may be apart, of 255: the mean of a square, and the mean of
/// all squares. What is less no one sees.
const SQUARE_MAX: f64 = 12.0;
const MEAN_MAX: f64 = 0.3;
/// A square's side, px.
const SQUARE: usize = 4;

struct Bitmap {
    width: usize,
    height: usize,
    /// Red, green, blue.
    pixels: Vec<u8>,
}

impl Bitmap {
    fn read(bytes: &[u8]) -> Bitmap {
        let mut reader =
            ::png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a header");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("an image");
        Bitmap { width: info.width as usize, height: info.height as usize, pixels }
    }

    /// A square's mean brightness and its two differences of colour, as eyes weigh
    /// them.
    fn square(&self, x: usize, y: usize) -> [f64; 3] {
        let mut sum = [0.0; 3];
        let mut n = 0.0;
        for y in y..(y + SQUARE).min(self.height) {
            for x in x..(x + SQUARE).min(self.width) {
                let at = (y * self.width + x) * 3;
                let [r, g, b] = [0, 1, 2].map(|i| f64::from(self.pixels[at + i]));
                let bright = 0.299 * r + 0.587 * g + 0.114 * b;
                for (sum, v) in sum.iter_mut().zip([bright, (r - bright) / 2.0, (b - bright) / 2.0])
                {
                    *sum += v;
                }
                n += 1.0;
            }
        }
        sum.map(|v| v / n)
    }
}

/// Whether two pictures look alike: squares of 4 x 4 px are compared, so that an
/// edge which is smoothed otherwise is no difference, and a missing line is.
fn alike(a: &Bitmap, b: &Bitmap) -> Result<(), String> {
    if (a.width, a.height) != (b.width, b.height) {
        return Err(format!("{} x {} and {} x {}", a.width, a.height, b.width, b.height));
    }
    let (mut sum, mut n) = (0.0, 0.0);
    for y in (0..a.height).step_by(SQUARE) {
        for x in (0..a.width).step_by(SQUARE) {
            let (p, q) = (a.square(x, y), b.square(x, y));
            let far = p.iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt();
            if far > SQUARE_MAX {
                return Err(format!("by {far:.1} of 255 at {x}, {y}"));
            }
            (sum, n) = (sum + far, n + 1.0);
        }
    }
    let mean = sum / n;
    if mean > MEAN_MAX { Err(format!("by {mean:.2} of 255 everywhere")) } else { Ok(()) }
}

#[test]
fn the_comparison_sees_what_eyes_see() {
    let rollup = two(Draw::Area);
    let draw = |change: &dyn Fn(&mut GraphRequest<'_>)| {
        let mut request = request(&rollup, &[]);
        change(&mut request);
        Bitmap::read(&png(&request).expect("a PNG"))
    };
    let whole = draw(&|_| {});
    let mut noisy = draw(&|_| {});
    for (i, v) in noisy.pixels.iter_mut().enumerate() {
        *v = v.saturating_sub(u8::from(i % 7 == 0));
    }
    assert_eq!(alike(&whole, &noisy), Ok(()), "one of 255 here and there is nothing");
    let muted = ["a".to_owned()];
    let faults: [&dyn Fn(&mut GraphRequest<'_>); 5] = [
        &|r| r.theme = Theme::Dark,
        &|r| r.title = "Titles",
        &|r| r.axis = Some((0.0, 6.5)),
        &|r| r.to_ms += 60_000,
        &|r| r.over.note = "a note",
    ];
    for (i, fault) in faults.iter().enumerate() {
        assert!(alike(&whole, &draw(*fault)).is_err(), "fault {i} is not seen");
    }
    let mut request = request(&rollup, &[]);
    request.over.muted = &muted;
    let without = Bitmap::read(&png(&request).expect("a PNG"));
    assert!(alike(&whole, &without).is_err(), "a field is missing");
    let mut faded = Bitmap { pixels: whole.pixels.clone(), ..whole };
    faded.pixels.iter_mut().for_each(|v| *v = v.saturating_sub(2));
    assert!(alike(&whole, &faded).is_err(), "all of it is darker");
}

fn service(args: &str) -> ServiceSpec {
    ServiceSpec::new("s", "S", "other").args(args).vlabel("things per ${graph_period}")
}

fn values(of: &[f64]) -> Vec<Option<f64>> {
    of.iter().map(|v| (!v.is_nan()).then_some(*v)).collect()
}

fn two(draw: Draw) -> Rollup {
    let gap = f64::NAN;
    let a = values(&[1.0, 2.0, 3.0, gap, gap, gap, 3.0, 2.0, 2.0]);
    let b = values(&[4.0, 4.0, 5.0, gap, gap, gap, 6.0, 6.0, 4.0]);
    let fields = vec![
        field(FieldSpec::gauge("a", "apples").draw(draw), &a),
        field(FieldSpec::gauge("b", "pears").draw(draw), &b),
    ];
    rollup(service("-l 0"), fields)
}

#[test]
fn golden_stack() {
    compare("stack.svg", &request(&two(Draw::AreaStack), &[]));
}

#[test]
fn golden_areas() {
    compare("areas.svg", &request(&two(Draw::Area), &[]));
}

#[test]
fn golden_lines_with_limits() {
    let limits = Limits { warning: Some("~:5".into()), critical: Some("~:7".into()) };
    let limits = [("b".to_owned(), limits)];
    compare("lines.svg", &request(&two(Draw::Line2), &limits));
}

#[test]
fn golden_marks() {
    let mark = |at: i64, text: &str| Mark { time_ms: FROM + at * 60_000, text: text.to_owned() };
    let marks = [
        mark(-1, "before"),
        mark(1, "deployed r1234 <b>"),
        mark(6, "one"),
        mark(6, "two"),
        mark(900, "after"),
    ];
    let rollup = two(Draw::Line1);
    compare("marks.svg", &GraphRequest { marks: &marks, height: 160, ..request(&rollup, &[]) });
}

#[test]
fn golden_overlays() {
    let of = |field: Option<&str>, value: f64| Percentile {
        field: field.map(str::to_owned),
        percent: 95.0,
        value,
    };
    let (lines, before) = (two(Draw::Line1), two(Draw::Line2));
    let muted = ["a".to_owned()];
    let percentiles = [of(Some("a"), 3.0), of(Some("b"), 5.5)];
    let over = Over {
        muted: &muted,
        percentiles: &percentiles,
        ghost: Some(&before),
        ghost_name: "1w",
        note: "a note",
    };
    compare("overlays.svg", &GraphRequest { over, height: 160, ..request(&lines, &[]) });
}

#[test]
fn golden_mirrored() {
    let up = FieldSpec::gauge("up", "sent").draw(Draw::Area).negative("down");
    let fields = vec![
        field(FieldSpec::gauge("down", "received").hidden(), &values(&[2e6, 3e6, 1e6])),
        field(up, &values(&[1e6, 2e6, 4e6])),
    ];
    compare("mirrored.svg", &request(&rollup(service(""), fields), &[]));
}

#[test]
fn golden_band_with_a_spike() {
    let mut buckets = vec![bucket(&[1.0, 1.5, 0.5]); 9];
    buckets[4] = bucket(&[1.0, 9.0, 1.0]);
    let fields = vec![with_buckets(FieldSpec::gauge("a", "apples"), buckets)];
    compare("band.svg", &request(&rollup(service("-l 0"), fields), &[]));
}

#[test]
fn golden_lone_point_and_nothing() {
    let mut lone = vec![None; 9];
    lone[6] = Some(5.0);
    let fields = vec![field(FieldSpec::gauge("a", "apples"), &lone)];
    compare("point.svg", &request(&rollup(service(""), fields), &[]));
    let fields = vec![field(FieldSpec::gauge("a", "apples"), &[None, None])];
    compare("nothing.svg", &request(&rollup(service(""), fields), &[]));
}

#[test]
fn golden_every_line_on_dark() {
    let of = |name: &str, at: f64, draw: Draw| {
        let wave = (0..40).map(|i| Some(at + (f64::from(i) / 5.0).sin()));
        field(FieldSpec::gauge(name, name).draw(draw), &wave.collect::<Vec<_>>())
    };
    let fields = vec![
        of("thin", 2.0, Draw::Line1),
        of("middle", 4.0, Draw::Line2),
        of("thick", 6.0, Draw::Line3),
        of("upon_the_thick_one", 1.5, Draw::Stack),
    ];
    let rollup = rollup(service("-l 0"), fields);
    let request = GraphRequest { theme: Theme::Dark, height: 160, ..request(&rollup, &[]) };
    compare("lines-dark.svg", &request);
}

#[test]
fn golden_narrow_gaps_are_named() {
    let mut values = vec![Some(3.0); 400];
    values[60..70].fill(None);
    values[390..397].fill(None);
    let rollup = rollup(service(""), vec![field(FieldSpec::gauge("a", "apples"), &values)]);
    let request = request(&rollup, &[]);
    assert_eq!(svg(&request).expect("an SVG").matches("no data").count(), 2);
    compare("gaps.svg", &request);
}

#[test]
fn golden_powers_of_ten_with_a_line_of_its_own() {
    let mut b = FieldSpec::gauge("b", "pears").draw(Draw::Line2);
    b.extra.insert("line".to_owned(), "300:COLOUR4:ripe".to_owned());
    let fields = vec![
        field(FieldSpec::gauge("a", "apples"), &values(&[1.0, 3.0, 10.0, 30.0, 100.0])),
        field(b, &values(&[40_000.0, 4000.0, 400.0, 40.0, 4.0])),
    ];
    let rollup = rollup(service("--logarithmic --base 1000"), fields);
    compare("powers.svg", &request(&rollup, &[]));
}

#[test]
fn golden_counters_have_totals() {
    let spec = ServiceSpec::new("s", "S", "network").vlabel("bytes per ${graph_period}");
    let mut one = field(FieldSpec::derive("a", "received"), &values(&[2e6, 3e6, 1e6]));
    one.increase = Some(3.6e8);
    let mut two = field(FieldSpec::derive("b", "sent").draw(Draw::AreaStack), &values(&[1e6; 3]));
    two.increase = Some(1.8e8);
    let rollup = rollup(spec, vec![one, two]);
    let request = GraphRequest { width: 560, ..request(&rollup, &[]) };
    let drawn = svg(&request).expect("an SVG");
    assert!(drawn.contains("Total") && drawn.contains("360 MB"), "{drawn}");
    compare("totals.svg", &request);
}
