//! The spool against a model, and against crashes.

use super::*;
use crate::outbox::tests::batch;
use proptest::prelude::*;
use rookery_plugins::wire::FrameWriter;

fn put(spool: &mut Spool, sequence: u64) {
    spool.append(&batch(sequence), "n", "", &mut FrameWriter::default()).expect("appends");
}

fn take(spool: &mut Spool) -> Option<u64> {
    let bytes = spool.peek().expect("reads")?;
    let sequence = Frame::parse(&bytes).expect("a frame").sequence;
    spool.ack(bytes.len());
    Some(sequence)
}

fn drain(spool: &mut Spool) -> Vec<u64> {
    std::iter::from_fn(|| take(spool)).collect()
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).expect("lists").into_iter().map(|s| s.path).collect()
}

#[test]
fn a_restart_goes_on_after_the_last_acknowledged() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    (1..=5).for_each(|s| put(&mut spool, s));
    assert_eq!((take(&mut spool), take(&mut spool)), (Some(1), Some(2)));
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    assert_eq!(spool.boot_max(), 5);
    put(&mut spool, 6);
    assert_eq!(drain(&mut spool), [3, 4, 5, 6]);
    assert!(spool.is_empty() && segment_files(dir.path()).is_empty());
    put(&mut spool, 7);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    assert_eq!(drain(&mut spool), [7]);
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    for cut in 1..60 {
        let dir = tempfile::tempdir().expect("tmp");
        let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
        (1..=3).for_each(|s| put(&mut spool, s));
        drop(spool);
        let file = segment_files(dir.path()).remove(0);
        let len = std::fs::metadata(&file).expect("stat").len();
        OpenOptions::new().write(true).open(&file).expect("opens").set_len(len - cut).expect("cut");
        let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
        put(&mut spool, 4);
        assert_eq!(drain(&mut spool), [1, 2, 4], "cut {cut}");
        assert_eq!(spool.n_damaged(), 0);
    }
}

#[test]
fn a_flipped_byte_costs_one_record_and_garbage_the_rest_of_its_segment() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    put(&mut spool, 1);
    let at = spool.bytes() as usize;
    (2..=4).for_each(|s| put(&mut spool, s));
    let file = segment_files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&file).expect("reads");
    bytes[at + 20] ^= 1;
    std::fs::write(&file, &bytes).expect("writes");
    assert_eq!(drain(&mut spool), [1, 3, 4]);
    assert_eq!(spool.n_damaged(), 1);

    (5..=7).for_each(|s| put(&mut spool, s));
    let file = segment_files(dir.path()).remove(0);
    let mut bytes = std::fs::read(&file).expect("reads");
    bytes[at + 5] = b'?';
    std::fs::write(&file, &bytes).expect("writes");
    assert_eq!(drain(&mut spool), [5]);
}

#[test]
fn the_oldest_segment_goes_when_it_is_full() {
    let dir = tempfile::tempdir().expect("tmp");
    let limit = 8_000;
    let mut spool = Spool::open(dir.path(), limit).expect("opens");
    for s in 1..=500 {
        put(&mut spool, s);
        assert!(spool.bytes() <= limit, "{} at {s}", spool.bytes());
    }
    assert!(spool.bytes_dropped() > 0);
    let left = drain(&mut spool);
    assert!(left.len() > 20, "{left:?}");
    let want: Vec<u64> = (501 - left.len() as u64..=500).collect();
    assert_eq!(left, want, "the newest, in order, without holes");
}

#[test]
fn a_full_disk_is_an_error_and_passes() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    let file = segment::path(dir.path(), 1);
    std::os::unix::fs::symlink("/dev/full", &file).expect("links");
    let e = spool.append(&batch(1), "n", "", &mut FrameWriter::default()).expect_err("full");
    assert_eq!(e.kind(), io::ErrorKind::StorageFull);
    put(&mut spool, 1);
    assert_eq!(drain(&mut spool), [1]);
}

#[test]
fn what_could_not_be_synced_is_not_kept() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    // Takes what is written, and refuses to sync it.
    std::os::unix::fs::symlink("/dev/null", segment::path(dir.path(), 1)).expect("links");
    put(&mut spool, 1);
    put(&mut spool, 2);
    spool.sync().expect_err("cannot be synced");
    assert_eq!((spool.n_safe(), spool.is_empty()), (0, true));
    spool.sync().expect("nothing is left to sync");
    assert_eq!(spool.n_safe(), 0);
    (1..=2).for_each(|s| put(&mut spool, s));
    spool.sync().expect("another segment");
    assert_eq!(spool.n_safe(), 2);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    assert_eq!(drain(&mut spool), [1, 2]);
}

#[test]
fn two_agents_do_not_share_a_spool() {
    let dir = tempfile::tempdir().expect("tmp");
    let _first = Spool::open(dir.path(), 1 << 20).expect("opens");
    let second = Spool::open(dir.path(), 1 << 20).expect_err("busy");
    assert!(second.to_string().contains("another agent uses it"), "{second}");
}

#[test]
fn every_frame_of_a_segment_can_be_explained_after_a_restart() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    (1..=3).for_each(|s| put(&mut spool, s));
    take(&mut spool);
    drop(spool);
    let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
    let bytes = spool.peek().expect("reads").expect("one");
    assert!(Frame::parse(&bytes).expect("parses").layouts.is_empty(), "bare");
    let full = spool.explain(&bytes, &mut FrameWriter::default()).expect("explains");
    let frame = Frame::parse(&full).expect("parses");
    assert_eq!((frame.sequence, frame.layouts.len()), (2, 1));
    assert_eq!(frame.announce.expect("announces").services[0].name, "svc");
    spool.ack(bytes.len());
    assert_eq!(drain(&mut spool), [3]);
}

#[derive(Clone, Debug)]
enum Op {
    Put,
    Take,
    Reopen,
    /// Garbage at the end of the last segment, as a crash leaves it.
    Tear(Vec<u8>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Put),
        4 => Just(Op::Take),
        1 => Just(Op::Reopen),
        1 => proptest::collection::vec(any::<u8>(), 1..30).prop_map(Op::Tear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn behaves_as_a_queue(ops in proptest::collection::vec(op(), 1..80)) {
        let dir = tempfile::tempdir().expect("tmp");
        // Small segments, and never full.
        let open = || {
            let mut spool = Spool::open(dir.path(), 1 << 20).expect("opens");
            spool.segment_bytes = 300;
            spool
        };
        let mut spool = open();
        let mut model = std::collections::VecDeque::new();
        let mut sequence = 0;
        for op in ops {
            match op {
                Op::Put => {
                    sequence += 1;
                    put(&mut spool, sequence);
                    model.push_back(sequence);
                }
                Op::Take => prop_assert_eq!(take(&mut spool), model.pop_front()),
                Op::Reopen => {
                    drop(spool);
                    spool = open();
                }
                Op::Tear(garbage) => {
                    drop(spool);
                    if let Some(last) = segment_files(dir.path()).last() {
                        let mut file = OpenOptions::new().append(true).open(last).expect("opens");
                        file.write_all(&garbage).expect("writes");
                    }
                    spool = open();
                }
            }
            prop_assert_eq!(spool.is_empty(), model.is_empty());
        }
        prop_assert_eq!(drain(&mut spool), Vec::from(model));
    }
}
