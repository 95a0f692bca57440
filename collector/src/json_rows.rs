//! Which samples of a JSON request share a row, and so a block and its times.
//!
//! Each field has one **home**: the layout in which all of its samples that come as JSON
//! are kept, whoever sends it with which neighbours, so that doubled ones meet and are
//! told apart. New fields whose samples have the same times in the request that brings
//! them first get a home together; what of a home a request does not bring is absent in
//! its rows. The writer sees to it that no field gets a second home
//! ([`crate::store::StoreError::Replan`]).

use crate::catalog::LayoutIndex;
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{Cells, FieldKey, Layout, TimeMs, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The most fields of one home: a request that brings one of them alone pays for a row
/// of all of them.
const HOME_FIELDS_MAX: usize = 128;
/// A new field joins one of the groups made last whose times are nearly its own.
const GROUPS_LOOKED_AT: usize = 8;

/// Where a field's samples are kept.
pub type Home = Arc<LayoutIndex>;

/// A sample of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Of which field.
    pub key: FieldKey,
    /// When it was read.
    pub time_ms: TimeMs,
    /// Its value.
    pub value: Value,
}

/// Where a field stands in the frame that is written.
#[derive(Clone, Copy)]
struct Place {
    layout: usize,
    col: usize,
}

/// Writes the rows of these samples, by time, and the layouts that they need. Of two
/// samples of one field and time the later one is a row of its own, so that it is told
/// apart as a doubled one is.
pub fn write_rows(
    writer: &mut FrameWriter,
    samples: &[Sample],
    homes: impl FnOnce(&[FieldKey]) -> Vec<Option<Home>>,
) {
    let (keys, of_sample) = distinct(samples);
    let homes = homes(&keys);
    let (layouts, places) = plan(&keys, &homes, samples, &of_sample);
    layouts.iter().for_each(|layout| writer.layout(layout));
    let mut order: Vec<usize> = (0..samples.len()).collect();
    // Stable: what comes first in the request stays first.
    order.sort_by_key(|i| (samples[*i].time_ms, places[of_sample[*i]].layout));
    let mut cells: Vec<Option<Value>> = Vec::new();
    let mut doubled: Vec<usize> = Vec::new();
    let row_of = |i: &usize| (samples[*i].time_ms, places[of_sample[*i]].layout);
    for row in order.chunk_by(|a, b| row_of(a) == row_of(b)) {
        let (time_ms, layout) = row_of(&row[0]);
        let layout = &layouts[layout];
        cells.clear();
        cells.resize(layout.len(), None);
        doubled.clear();
        for i in row {
            let cell = &mut cells[places[of_sample[*i]].col];
            match cell {
                None => *cell = Some(samples[*i].value),
                Some(_) => doubled.push(*i),
            }
        }
        write_row(writer, layout, time_ms, &cells);
        for i in &doubled {
            cells.fill(None);
            cells[places[of_sample[*i]].col] = Some(samples[*i].value);
            write_row(writer, layout, time_ms, &cells);
        }
    }
}

fn write_row(writer: &mut FrameWriter, layout: &Layout, time_ms: TimeMs, values: &[Option<Value>]) {
    let mut cells = Cells::new();
    for value in values {
        match value {
            Some(value) => cells.push(*value),
            None => cells.push_absent(),
        }
    }
    writer.row(layout.id(), time_ms, &cells);
}

/// The fields of these samples, and which of them each sample is of.
fn distinct(samples: &[Sample]) -> (Vec<FieldKey>, Vec<usize>) {
    let mut at: HashMap<&FieldKey, usize> = HashMap::new();
    let mut keys = Vec::new();
    let of_sample = samples.iter().map(|s| {
        *at.entry(&s.key).or_insert_with(|| {
            keys.push(s.key.clone());
            keys.len() - 1
        })
    });
    let of_sample = of_sample.collect();
    (keys, of_sample)
}

/// The layouts of the frame, and each field's place in them.
fn plan(
    keys: &[FieldKey],
    homes: &[Option<Home>],
    samples: &[Sample],
    of_sample: &[usize],
) -> (Vec<Layout>, Vec<Place>) {
    let mut layouts: Vec<Layout> = Vec::new();
    let mut known = HashMap::new();
    let mut places = vec![Place { layout: 0, col: 0 }; keys.len()];
    let mut homeless = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let home = homes.get(i).and_then(Option::as_ref);
        let Some((home, col)) = home.and_then(|h| Some((h, h.column(key)?))) else {
            homeless.push(i);
            continue;
        };
        let layout = *known.entry(home.layout.id()).or_insert_with(|| {
            layouts.push(home.layout.clone());
            layouts.len() - 1
        });
        places[i] = Place { layout, col };
    }
    for mut group in groups(&homeless, keys.len(), samples, of_sample) {
        // One order, whatever the request's: whoever repeats it finds the same home.
        group.sort_by_key(|i| &keys[*i]);
        for fields in group.chunks(HOME_FIELDS_MAX) {
            for (col, i) in fields.iter().enumerate() {
                places[*i] = Place { layout: layouts.len(), col };
            }
            layouts.push(Layout::new(fields.iter().map(|i| keys[*i].clone()).collect()));
        }
    }
    (layouts, places)
}

/// Fields whose samples have nearly the same times.
struct Group {
    times: Vec<TimeMs>,
    fields: Vec<usize>,
}

/// Groups fields (given by their numbers, of `n_keys`) that share their times.
fn groups(
    fields: &[usize],
    n_keys: usize,
    samples: &[Sample],
    of_sample: &[usize],
) -> Vec<Vec<usize>> {
    let mut is_asked = vec![false; n_keys];
    fields.iter().for_each(|i| is_asked[*i] = true);
    let mut times: Vec<Vec<TimeMs>> = vec![Vec::new(); n_keys];
    for (sample, key) in samples.iter().zip(of_sample) {
        if is_asked[*key] {
            times[*key].push(sample.time_ms);
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut same: HashMap<Vec<TimeMs>, usize> = HashMap::new();
    for i in fields {
        let mut own = std::mem::take(&mut times[*i]);
        own.sort_unstable();
        own.dedup();
        let near = same.get(&own).copied().or_else(|| {
            let last = groups.len().saturating_sub(GROUPS_LOOKED_AT);
            (last..groups.len()).rev().find(|g| are_near(&groups[*g].times, &own))
        });
        match near {
            Some(g) => groups[g].fields.push(*i),
            None => {
                same.insert(own.clone(), groups.len());
                groups.push(Group { times: own, fields: vec![*i] });
            }
        }
    }
    groups.into_iter().map(|g| g.fields).collect()
}

/// Whether nine of ten times of each are the other's, too.
fn are_near(a: &[TimeMs], b: &[TimeMs]) -> bool {
    let longer = a.len().max(b.len());
    if a.len().min(b.len()) * 10 < longer * 9 {
        return false;
    }
    let (mut i, mut j, mut n) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        n += usize::from(a[i] == b[j]);
        let (x, y) = (a[i], b[j]);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    n * 10 >= longer * 9
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rookery_plugins::wire::Frame;
    use std::collections::BTreeMap;

    fn sample(field: &str, time_ms: TimeMs, value: i64) -> Sample {
        Sample { key: FieldKey::new("s", field), time_ms, value: Value::Int(value) }
    }

    fn frame(samples: &[Sample], homes: &[Home]) -> Vec<u8> {
        let mut writer = FrameWriter::default();
        writer.start("n", 0, 0);
        write_rows(&mut writer, samples, |keys| {
            let home = |k: &FieldKey| homes.iter().find(|h| h.column(k).is_some()).cloned();
            keys.iter().map(home).collect()
        });
        writer.finish().to_vec()
    }

    #[test]
    fn what_shares_its_times_shares_a_row() {
        let mut samples = Vec::new();
        for t in 0..20 {
            samples.extend([sample("b", t, 1), sample("a", t, 2), sample("other", 1000 + t, 3)]);
            if t != 7 {
                samples.push(sample("with_a_gap", t, 4));
            }
        }
        let bytes = frame(&samples, &[]);
        let frame = Frame::parse(&bytes).expect("parses");
        let fields = |l: &Layout| l.fields().iter().map(|f| f.field.clone()).collect::<Vec<_>>();
        let layouts: Vec<_> = frame.layouts.iter().map(fields).collect();
        assert_eq!(layouts, [vec!["a", "b", "with_a_gap"], vec!["other"]]);
        assert_eq!(frame.rows.len(), 40);
    }

    #[test]
    fn known_fields_stay_in_their_homes() {
        let keys = ["a", "b", "c"].map(|f| FieldKey::new("s", f));
        let home = Arc::new(LayoutIndex::new(Layout::new(keys.to_vec())));
        let samples = [sample("c", 1, 1), sample("new", 1, 2), sample("a", 1, 3)];
        let bytes = frame(&samples, std::slice::from_ref(&home));
        let frame = Frame::parse(&bytes).expect("parses");
        assert_eq!(frame.layouts[0], home.layout);
        assert_eq!(frame.layouts[1].fields(), [FieldKey::new("s", "new")]);
        let mut kinds = Vec::new();
        frame.rows[0].expand_kinds(&mut kinds);
        assert_eq!((frame.rows.len(), kinds[1]), (2, 0), "b is absent");
    }

    #[test]
    fn many_fields_get_several_homes() {
        let samples: Vec<_> = (0..300).map(|i| sample(&format!("f{i}"), 5, i)).collect();
        let bytes = frame(&samples, &[]);
        let frame = Frame::parse(&bytes).expect("parses");
        let lens: Vec<_> = frame.layouts.iter().map(Layout::len).collect();
        assert_eq!(lens, [128, 128, 44]);
    }

    proptest! {
        #[test]
        fn every_sample_is_in_the_frame_and_the_first_comes_first(
            list in proptest::collection::vec((0u8..6, 0i64..8, any::<i64>()), 1..80),
        ) {
            let samples: Vec<_> =
                list.iter().map(|(f, t, v)| sample(&format!("f{f}"), *t, *v)).collect();
            let bytes = frame(&samples, &[]);
            let frame = Frame::parse(&bytes).expect("parses");
            let by_id: HashMap<_, _> = frame.layouts.iter().map(|l| (l.id(), l)).collect();
            let mut found: BTreeMap<(FieldKey, TimeMs), Vec<u64>> = BTreeMap::new();
            for row in &frame.rows {
                let (mut kinds, mut bits) = (vec![], vec![]);
                row.expand_kinds(&mut kinds);
                row.append_bits(&mut bits);
                let fields = by_id[&row.layout].fields();
                for (i, key) in fields.iter().enumerate().filter(|(i, _)| kinds[*i] != 0) {
                    found.entry((key.clone(), row.time_ms)).or_default().push(bits[i]);
                }
            }
            let mut want: BTreeMap<(FieldKey, TimeMs), Vec<u64>> = BTreeMap::new();
            for s in &samples {
                want.entry((s.key.clone(), s.time_ms)).or_default().push(s.value.bits());
            }
            prop_assert_eq!(found, want);
        }
    }
}
