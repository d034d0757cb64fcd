//! The bodies of `fuzz/`, held against every seed and some thousands of bent ones, the same in each run; and against decoders that are
//! broken on purpose, which they must find.
#![expect(
    clippy::missing_panics_doc,
    reason = "a test stops at the first surprise"
)]

pub mod bend;
pub mod edges;
pub mod whatsapp;
pub mod wire;

use bend::{Run, corpus, seeds};
use bernard::channels::Deed;
use bernard::channels::telegram::receive;
use protocol::chunk::{BadChunk, Chunk, MAX_CHUNK};
use protocol::pairing::Link;
use protocol::token::Kind;
use protocol::{ToBridge, read_frame};

const FRAME_WORDS: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-0",
    "1e400",
    "0.1",
    "1.7976931348623157e308",
    "5e-324",
    "123456789012345678901234567890",
    "18446744073709551615",
    "2.2250738585072011e-308",
    "0.30000000000000004",
    "9007199254740993.0",
    "\"type\":\"run\",",
    "\"call\":",
    "\"file\":null,",
    "\u{e9}",
    "[[[[[[[[",
    "\"arguments\":",
];

const UPDATE_WORDS: [&str; 27] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "1.5",
    "9223372036854775808",
    "\"text\":",
    "\"caption\":\"a\",",
    "\"photo\":[],",
    "\"sender_chat\":{},",
    "\"forward_origin\":1,",
    "\"via_bot\":{},",
    "\"quote\":{\"text\":\"q\"},",
    "\"is_bot\":true,",
    "\"private\"",
    "\"group\"",
    "\"/stop\"",
    "\\u202e",
    "\"reply_to_message\":{\"text\":\"r\"},",
    "\"message\":null,",
    "\u{e9}",
];

const STREAM_WORDS: [&str; 22] = [
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\r\r\n",
    "data",
    "data:",
    "data: ",
    "event:",
    ":",
    " ",
    "\u{feff}",
    "\u{1f980}",
    "[DONE]",
    "{",
    "}",
    "\"",
    "\\",
    "null",
    "id: 1",
    "\"finish_reason\":\"stop\"",
    "\"index\":0",
];

const LINK_WORDS: [&str; 10] = [
    "&",
    "=",
    "u=",
    "p=",
    "s=",
    "f=",
    "bernard://pair?",
    " ",
    "\n",
    "A",
];

const CLAIM_WORDS: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\n",
    "null",
    "1789999999",
    "1790000031",
    "1790000100",
    "1.79e9",
    "\"exp\":",
    "\"iat\":",
    "\"nbf\":",
    "\"nonce\":null,",
    "\"aud\":[\"a\"],",
    "\"crit\":[],",
    "-",
    "none",
    "seq",
];

fn frames() -> Vec<Vec<u8>> {
    let mut all = seeds("tests/wire", ".json");
    all.extend(corpus("frame"));
    all
}

fn updates() -> Vec<Vec<u8>> {
    let mut all = seeds("tests/fixtures/telegram", ".json");
    all.extend(corpus("telegram_update"));
    all
}

fn deliveries() -> Vec<Vec<u8>> {
    let mut all = seeds("tests/fixtures/whatsapp", ".json");
    all.extend(corpus("whatsapp_delivery"));
    all
}

fn streams() -> Vec<Vec<u8>> {
    let mut all = seeds("tests/fixtures/openai", ".sse");
    all.extend(seeds("tests/fixtures/anthropic", ".sse"));
    all.extend(corpus("sse"));
    all
}

fn run<'a>(seeds: &'a [Vec<u8>], words: &'a [&'a str], each: usize) -> Run<'a> {
    Run { seeds, words, each }
}

#[test]
fn a_frame_means_what_it_says() {
    run(&frames(), &FRAME_WORDS, 500).holds("frame", wire::frame);
}

#[test]
fn a_chunk_is_its_bytes() {
    let mut all = corpus("chunk");
    let frame = |size| [&[2, b'a', b'1', 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![7; size]].concat();
    all.extend([MAX_CHUNK - 1, MAX_CHUNK, MAX_CHUNK + 1].map(frame));
    run(&all, &["\0", "\u{ff}", "a1"], 300).holds("chunk", wire::chunk);
}

#[test]
fn a_link_is_shown_as_it_is_read() {
    run(&corpus("link"), &LINK_WORDS, 2_000).holds("link", wire::link);
}

/// `UPDATE=1` writes the genuine seeds anew, which change with the protocol.
fn renewed(target: &str, seeds: &[Vec<u8>]) {
    if std::env::var_os("UPDATE").is_none() {
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, seed) in ["hello", "warrant", "receipt"].iter().zip(seeds) {
        let file = folder.join(target).join(name);
        std::fs::write(file, seed).expect("the corpus can be written to");
    }
}

#[test]
fn no_bent_token_passes() {
    renewed("token", wire::token_seeds());
    let all = corpus("token");
    let held = |token| all.contains(token);
    assert!(
        wire::token_seeds().iter().all(held),
        "a genuine token is missing"
    );
    run(&all, &["=", ".", "A", "_", " ", "\n"], 700).holds("token", wire::token);
}

#[test]
fn a_token_that_passes_is_strict() {
    renewed("claims", &wire::claims_seeds());
    let all = corpus("claims");
    let held = |claims| all.contains(claims);
    assert!(
        wire::claims_seeds().iter().all(held),
        "golden claims are missing"
    );
    run(&all, &CLAIM_WORDS, 1_000).holds("claims", wire::claims);
}

#[test]
fn an_update_is_told_in_its_own_words() {
    run(&updates(), &UPDATE_WORDS, 300).holds("telegram_update", edges::telegram_update);
}

#[test]
fn a_delivery_is_told_in_its_own_words() {
    run(&deliveries(), &UPDATE_WORDS, 300).holds("whatsapp_delivery", whatsapp::delivery);
}

#[test]
fn a_stream_of_events_may_be_cut_anywhere() {
    run(&streams(), &STREAM_WORDS, 50).holds("sse", edges::sse);
}

#[test]
fn a_models_stream_may_be_cut_anywhere() {
    run(&streams(), &STREAM_WORDS, 25).holds("stream", edges::stream);
}

mod broken {
    use super::*;

    #[test]
    fn a_frame_decoder_that_forgets_or_mends_is_found() {
        let all = frames();
        let run = run(&all, &FRAME_WORDS, 500);
        run.finds("a decoder that shortens a nonce", |bytes| {
            let down = |text: &str| {
                let mut frame = read_frame(text)?;
                if let ToBridge::Challenge { nonce, .. } = &mut frame {
                    nonce.truncate(4);
                }
                Ok(frame)
            };
            wire::frame_by(down, read_frame, bytes)
        });
        run.finds("a decoder that drops the last byte", |bytes| {
            let down =
                |text: &str| read_frame(text.get(..text.len().saturating_sub(1)).unwrap_or(text));
            wire::frame_by(down, read_frame, bytes)
        });
        run.finds("a decoder that takes whatever follows", |bytes| {
            let down = |text: &str| read_frame(&text[..text.rfind('}').map_or(0, |end| end + 1)]);
            wire::frame_by(down, read_frame, bytes)
        });
    }

    #[test]
    fn a_chunk_decoder_that_loses_a_byte_or_believes_a_length_is_found() {
        let all = corpus("chunk");
        let run = run(&all, &[], 400);
        run.finds("a decoder that drops a byte", |bytes| {
            let decode = |frame: &[u8]| {
                let mut chunk = Chunk::decode(frame)?;
                chunk.bytes.pop();
                Ok(chunk)
            };
            wire::chunk_by(decode, bytes)
        });
        run.finds("a decoder that reads a short offset", |bytes| {
            let decode = |frame: &[u8]| {
                let mut chunk = Chunk::decode(frame)?;
                chunk.offset &= 0xffff_ffff;
                Ok(chunk)
            };
            wire::chunk_by(decode, bytes)
        });
        run.finds("a decoder that trusts the length of the id", |bytes| {
            let decode = |frame: &[u8]| {
                let length = usize::from(*frame.first().ok_or(BadChunk)?);
                let _ = &frame[1..=length]; // panics where the frame is shorter
                Chunk::decode(frame)
            };
            wire::chunk_by(decode, bytes)
        });
    }

    #[test]
    fn a_reader_of_links_that_takes_any_address_is_found() {
        let all = corpus("link");
        run(&all, &LINK_WORDS, 50).finds("a reader that loses the end", |bytes| {
            let parse = |text: &str| {
                let mut link = Link::parse(text)?;
                link.secret.pop();
                Ok(link)
            };
            wire::link_by(parse, bytes)
        });
    }

    #[test]
    fn a_check_of_tokens_that_mends_them_is_found() {
        let run = run(wire::token_seeds(), &["=", "\n"], 200);
        run.finds("a check that takes padding and blanks", |bytes| {
            let passes = |kind, text: &str| {
                let mended = text.trim_end_matches(['=', '\n']);
                genuine(kind) == mended
            };
            wire::token_by(passes, bytes)
        });
        run.finds("a check that looks at no signature", |bytes| {
            let signed = |text: &str| text.rsplit_once('.').map(|(said, _)| said.to_owned());
            wire::token_by(|kind, text| signed(text) == signed(&genuine(kind)), bytes)
        });
    }

    #[test]
    fn a_check_of_claims_that_lets_one_pass_is_found() {
        let all = wire::claims_seeds();
        let run = run(&all, &CLAIM_WORDS, 200);
        run.finds("a check of the kind alone", |bytes| {
            let said = String::from_utf8_lossy(bytes).into_owned();
            wire::claims_by(|kind, _| said.contains(name(kind)), bytes)
        });
    }

    fn genuine(kind: Kind) -> String {
        let at = match kind {
            Kind::Hello => 0,
            Kind::Warrant => 1,
            Kind::Receipt => 2,
        };
        String::from_utf8_lossy(&wire::token_seeds()[at]).into_owned()
    }

    fn name(kind: Kind) -> &'static str {
        match kind {
            Kind::Hello => "hello+jwt",
            Kind::Warrant => "warrant+jwt",
            Kind::Receipt => "receipt+jwt",
        }
    }

    #[test]
    fn a_decoder_of_updates_that_puts_words_into_a_mouth_is_found() {
        let all = updates();
        let run = run(&all, &UPDATE_WORDS, 5);
        run.finds("a decoder that loses a letter", |bytes| {
            edges::telegram_update_by(
                |body| {
                    let mut inbound = receive(body)?;
                    if let Some(Deed::Wrote { text, .. }) = inbound.as_mut().map(|it| &mut it.deed)
                    {
                        text.pop();
                    }
                    Ok(inbound)
                },
                bytes,
            )
        });
        run.finds("a decoder that forgets who passed it on", |bytes| {
            edges::telegram_update_by(
                |body| {
                    let mut inbound = receive(body)?;
                    if let Some(Deed::Wrote { forwarded, .. }) =
                        inbound.as_mut().map(|it| &mut it.deed)
                    {
                        *forwarded = false;
                    }
                    Ok(inbound)
                },
                bytes,
            )
        });
        run.finds("a decoder that logs what it read", |bytes| {
            edges::telegram_update_by(
                |body| {
                    let read = String::from_utf8_lossy(body.get().bytes()).into_owned();
                    receive(body)
                        .map_err(|_| bernard::channels::telegram::Garbage::NotAnUpdate(read))
                },
                bytes,
            )
        });
    }

    #[test]
    fn a_decoder_of_deliveries_that_mixes_people_up_is_found() {
        use bernard::channels::whatsapp::receive;

        let all = deliveries();
        let run = run(&all, &UPDATE_WORDS, 5);
        run.finds("a decoder that hears everyone as the first", |bytes| {
            whatsapp::delivery_by(
                |body| {
                    let mut heard = receive(body)?;
                    let mut changed = heard.inbound.iter_mut().map(|it| &mut it.sender);
                    if let Some(sender) = changed.next() {
                        sender.push('1');
                    }
                    Ok(heard)
                },
                bytes,
            )
        });
        run.finds(
            "a decoder that takes what was passed on for their own",
            |bytes| {
                whatsapp::delivery_by(
                    |body| {
                        let mut heard = receive(body)?;
                        for inbound in &mut heard.inbound {
                            if let Deed::Wrote { forwarded, .. } = &mut inbound.deed {
                                *forwarded = false;
                            }
                        }
                        Ok(heard)
                    },
                    bytes,
                )
            },
        );
        run.finds("a decoder that tells a failure as a success", |bytes| {
            whatsapp::delivery_by(
                |body| {
                    let mut heard = receive(body)?;
                    for fate in &mut heard.fates {
                        fate.arrival = bernard::channels::Arrival::Read;
                    }
                    Ok(heard)
                },
                bytes,
            )
        });
    }

    #[test]
    fn a_decoder_of_events_that_minds_the_cuts_is_found() {
        let all = streams();
        let run = run(&all, &STREAM_WORDS, 2);
        run.finds("a decoder that reads letters piece by piece", |bytes| {
            let decode = |pieces: &[&[u8]]| {
                let texts: Vec<String> = pieces
                    .iter()
                    .map(|piece| String::from_utf8_lossy(piece).into_owned())
                    .collect();
                let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
                edges::events(&texts)
            };
            edges::sse_by(decode, bytes)
        });
        run.finds("a decoder that drops a byte", |bytes| {
            edges::sse_by(
                |pieces| edges::events(&pieces[..pieces.len().saturating_sub(1)]),
                bytes,
            )
        });
        run.finds(
            "a reader that loses what comes in a piece of its own",
            |bytes| {
                let read = |provider: &str, pieces: &[&[u8]]| {
                    let kept: Vec<&[u8]> =
                        pieces.iter().copied().filter(|it| it.len() != 3).collect();
                    edges::said(provider, &kept)
                };
                edges::stream_by(read, bytes)
            },
        );
    }
}
