use coppice_cache::store::Store;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::*;

const CHUNK: usize = 64 << 10;

fn tee(budget: u64) -> (Arc<Tee>, Arc<Store>) {
    let store = Store::new(budget);
    (Tee::new(store.reserve()), store)
}

fn chunk(byte: u8) -> Bytes {
    vec![byte; CHUNK].into()
}

async fn frame(body: &mut TeeBody) -> Option<Result<Bytes, BoxError>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().unwrap()))
}

#[tokio::test]
async fn tee_shares_chunks_and_ends_in_one_piece() {
    let (tee, store) = tee(16 << 20);
    let mut early = tee.attach().unwrap();
    let sent = chunk(1);
    tee.push(sent.clone()).unwrap();
    let got = frame(&mut early).await.unwrap().unwrap();
    assert_eq!(got.as_ptr(), sent.as_ptr(), "no copy for a reader");
    tee.push(chunk(2)).unwrap();
    assert_eq!(store.bytes(), 2 * CHUNK as u64);
    let whole = tee.finish().unwrap();
    assert_eq!(whole.len(), 2 * CHUNK);
    assert_eq!(frame(&mut early).await.unwrap().unwrap(), chunk(2));
    assert!(futures::poll!(Box::pin(frame(&mut early))).is_pending());
    tee.reveal();
    assert!(frame(&mut early).await.is_none());
    // Who comes after the end reads the piece that is stored.
    let mut late = tee.attach().unwrap();
    assert_eq!(late.size_hint().exact(), Some(2 * CHUNK as u64));
    assert_eq!(frame(&mut late).await.unwrap().unwrap().as_ptr(), whole.as_ptr());
    tee.release_room();
    assert_eq!(store.bytes(), 0);
}

#[tokio::test]
async fn tee_holds_back_what_completes_a_body_until_it_is_stored() {
    let (tee, _store) = tee(16 << 20);
    tee.promise(Some(2 * CHUNK as u64));
    let mut reader = tee.attach().unwrap();
    tee.push(chunk(1)).unwrap();
    assert_eq!(frame(&mut reader).await.unwrap().unwrap(), chunk(1));
    tee.push(chunk(2)).unwrap();
    assert!(futures::poll!(Box::pin(frame(&mut reader))).is_pending());
    let mut late = tee.attach().unwrap();
    tee.finish().unwrap();
    assert_eq!(frame(&mut late).await.unwrap().unwrap(), chunk(1));
    assert!(futures::poll!(Box::pin(frame(&mut reader))).is_pending());
    tee.reveal();
    for mut reader in [reader, late] {
        assert_eq!(frame(&mut reader).await.unwrap().unwrap(), chunk(2));
        assert!(frame(&mut reader).await.is_none());
    }
}

#[tokio::test]
async fn tee_breaks_off_for_all() {
    let (tee, store) = tee(16 << 20);
    let mut reader = tee.attach().unwrap();
    tee.push(chunk(1)).unwrap();
    tee.break_off();
    assert!(frame(&mut reader).await.unwrap().is_err());
    assert!(frame(&mut tee.attach().unwrap()).await.unwrap().is_err());
    assert_eq!(store.bytes(), 0);
}

#[tokio::test]
async fn tee_without_room_is_paced_by_its_reader() {
    let (tee, store) = tee(4 * CHUNK as u64);
    let mut reader = tee.attach().unwrap();
    tee.push(chunk(1)).unwrap();
    tee.push(chunk(2)).unwrap();
    let (refused, NoRoom) = tee.push(chunk(3)).unwrap_err();
    tee.pace(Unstorable::TooLarge);
    tee.push(refused).unwrap();
    assert_eq!(tee.attach().err(), Some(Unstorable::TooLarge), "nobody joins");
    // More than the window is ahead: the app waits until the reader has read on.
    let mut waiting = Box::pin(tee.keep_pace());
    assert!(futures::poll!(&mut waiting).is_pending());
    for byte in 1..=3 {
        assert_eq!(frame(&mut reader).await.unwrap().unwrap(), chunk(byte));
    }
    assert!(waiting.await);
    assert_eq!(store.bytes(), 2 * CHUNK as u64, "it keeps its window");
    assert_eq!(tee.finish(), None, "and is not stored");
    tee.reveal();
    assert!(frame(&mut reader).await.is_none());
    drop(reader);
    assert!(!tee.keep_pace().await, "nobody reads");
}

#[tokio::test(start_paused = true)]
async fn tee_cuts_the_reader_that_keeps_others_waiting() {
    let (tee, _store) = tee(16 << 20);
    let (mut fast, mut slow) = (tee.attach().unwrap(), tee.attach().unwrap());
    tee.pace(Unstorable::TooLarge);
    for byte in 0..4 {
        tee.push(chunk(byte)).unwrap();
        frame(&mut fast).await.unwrap().unwrap();
    }
    assert!(
        timeout(std::time::Duration::from_secs(1), tee.keep_pace())
            .await
            .is_err()
    );
    tee.cut_slowest();
    assert!(tee.keep_pace().await);
    assert!(
        frame(&mut slow).await.unwrap().is_err(),
        "it never ends as if it were whole"
    );
    // The other one is alone now, and has its time.
    for byte in 4..8 {
        tee.push(chunk(byte)).unwrap();
    }
    tee.cut_slowest();
    for byte in 4..8 {
        assert_eq!(frame(&mut fast).await.unwrap().unwrap(), chunk(byte));
    }
    tee.finish();
    tee.reveal();
    assert!(frame(&mut fast).await.is_none());
}

#[tokio::test]
async fn tee_holds_of_small_pieces_no_more_than_their_bytes() {
    const PIECES: usize = 10_000;
    let (tee, store) = tee(16 << 20);
    let mut early = tee.attach().unwrap();
    let buffer = Bytes::from(vec![7; CHUNK]);
    let mut text = Vec::new();
    for number in 0..PIECES {
        tee.push(buffer.slice(..10)).unwrap();
        assert!(number % 100 > 0 || buffer.is_unique(), "the buffer can go");
        if number % 3 == 0 {
            text.extend_from_slice(&frame(&mut early).await.unwrap().unwrap());
        }
    }
    assert_eq!(store.bytes(), 10 * PIECES as u64);
    assert!(tee.inner.lock().chunks.len() <= 10 * PIECES / PIECE + 1);
    let whole = tee.finish().unwrap();
    tee.reveal();
    while let Some(piece) = frame(&mut early).await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(text, whole);
    assert_eq!(whole.len(), 10 * PIECES);
}

#[tokio::test]
async fn tee_that_is_paced_forgets_small_pieces_that_were_read() {
    let (tee, store) = tee(16 << 20);
    let (mut one, mut other) = (tee.attach().unwrap(), tee.attach().unwrap());
    tee.pace(Unstorable::TooLarge);
    for _ in 0..10_000 {
        tee.push(Bytes::from_static(b"piece")).unwrap();
        assert_eq!(frame(&mut one).await.unwrap().unwrap(), "piece");
        assert_eq!(frame(&mut other).await.unwrap().unwrap(), "piece");
    }
    assert!(store.bytes() <= PIECE as u64, "{}", store.bytes());
    assert!(tee.keep_pace().await);
}

/// What is ahead of its reader is within the budget, but for the chunk in hand.
#[tokio::test]
async fn tee_that_finds_no_room_reads_no_further() {
    let (tee, store) = tee(4 * CHUNK as u64);
    let mut others = store.reserve();
    assert!(others.grow(2 * CHUNK as u64));
    let mut reader = tee.attach().unwrap();
    let (refused, NoRoom) = tee.push(chunk(0)).unwrap_err();
    tee.pace(Unstorable::NoRoom);
    tee.push(refused).unwrap();
    for byte in 0..3 {
        let mut waiting = Box::pin(tee.keep_pace());
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(frame(&mut reader).await.unwrap().unwrap(), chunk(byte));
        assert!(waiting.await);
        if byte < 2 {
            tee.push(chunk(byte + 1)).unwrap();
        }
    }
    // There is room by now.
    drop(others);
    tee.push(chunk(3)).unwrap();
    assert!(tee.keep_pace().await);
    assert_eq!(store.bytes(), CHUNK as u64);
}
