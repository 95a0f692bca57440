//! `rookery rebuild`: what is derived comes back from the exact samples.
//!
//! A block's summaries and digests are derived. Where they are damaged, or
//! digests are not there, and the samples are whole, the block is written anew,
//! with all of them. The collector must not run.

use crate::catalog::Catalog;
use crate::chunk::{Block, ChunkError, Damage, Encoder, ReadAt, Section, digest_runs};
use crate::pack;
use crate::period::{Period, Periods};
use crate::store::{Store, StoreError};
use rusqlite::Connection;
use std::path::Path;

/// What [`rebuild`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Blocks whose summaries were made anew.
    pub rebuilt: usize,
    /// Blocks with damaged samples: they stay as they are, for what is whole in
    /// them; `rookery verify` names them.
    pub damaged: usize,
}

/// Makes the damaged summaries of the history in `data` anew.
pub fn rebuild(data: &Path) -> Result<Rebuilt, StoreError> {
    let _lock = Store::lock(data)?;
    let catalog = Catalog::open(data)?;
    let periods = Periods::open(&data.join("periods"))?;
    let mut encoder = Encoder::new();
    let mut done = Rebuilt::default();
    for (_, period) in periods.newest_first() {
        match rebuild_period(&period, &catalog, &mut encoder, &mut done) {
            // The other months are served, and rebuilt, all the same.
            Err(e) if e.is_of_a_piece() => {
                tracing::error!("{e}");
                done.damaged += 1;
            }
            other => other?,
        }
    }
    Ok(done)
}

fn rebuild_period(
    period: &Period,
    catalog: &Catalog,
    encoder: &mut Encoder,
    done: &mut Rebuilt,
) -> Result<(), StoreError> {
    let conn = period.writer()?;
    for node in catalog.view().all() {
        for index in node.layouts() {
            for row in period.all_blocks(&conn, node.id, index.layout.id())? {
                match damage_of(period, &conn, row.id)? {
                    Damaged::Nothing => {}
                    Damaged::Samples => done.damaged += 1,
                    Damaged::Summaries => {
                        let whole = pack::decode(period, &conn, &index, &[row])?;
                        pack::rewrite(period, &conn, encoder, row.id, &whole)?;
                        done.rebuilt += 1;
                    }
                }
            }
        }
    }
    Ok(())
}

enum Damaged {
    Nothing,
    Summaries,
    Samples,
}

fn damage_of(period: &Period, conn: &Connection, id: i64) -> Result<Damaged, StoreError> {
    let mut block = match period.open_block(conn, id) {
        Err(StoreError::Chunk { .. }) => return Ok(Damaged::Samples),
        other => other?,
    };
    let mut found = block.verify();
    if found.is_empty() {
        found = digest_damage(period, conn, id, &mut block)?;
    }
    let is_derived = |d: &Damage| matches!(d.error.section(), Some(Section::Summaries(_)));
    Ok(match found.iter().all(is_derived) {
        true if found.is_empty() => Damaged::Nothing,
        true => Damaged::Summaries,
        false => Damaged::Samples,
    })
}

/// What is wrong with a block's digests: also that it has none and should.
fn digest_damage<R: ReadAt>(
    period: &Period,
    conn: &Connection,
    id: i64,
    block: &mut Block<R>,
) -> Result<Vec<Damage>, StoreError> {
    let cols = block.cols();
    let times = block.times().map_err(|e| StoreError::chunk(period.path(), id, e))?;
    let n_wanted = if digest_runs(times).is_empty() { 0 } else { cols.len() };
    let damage = |error| vec![Damage { cols: cols.clone(), error }];
    let whole = Section::Summaries(cols.clone());
    let (mut n_found, mut error) = (0, None);
    let read = period.digests(conn)?.each(id, &cols, |digest| {
        n_found += digest.cols.len();
        error = error.take().or(digest.verify().err());
    });
    match read {
        Err(StoreError::Chunk { source, .. }) => error = error.or(Some(source)),
        other => other?,
    }
    if let Some(e) = error {
        return Ok(damage(e));
    }
    let is_whole = n_found == n_wanted;
    Ok(if is_whole { vec![] } else { damage(ChunkError::Malformed(whole, "digests are missing")) })
}
