//! A photo-like picture as PNG: the beach on which hermit crabs live.

const WIDTH: u32 = 320;
const HEIGHT: u32 = 200;
const HORIZON: u32 = 96;
const SHORE: u32 = 148;

/// An evening at the sea, 320 by 200 pixels.
pub(super) fn beach() -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..HEIGHT {
        rows.push(0); // each row begins with its filter: none
        for x in 0..WIDTH {
            rows.extend(colour(x, y));
        }
    }
    png(&rows)
}

fn colour(x: u32, y: u32) -> [u8; 3] {
    let shore = SHORE + wave(x, 37, 5) + wave(x, 11, 2);
    if in_disc(x, y, (232, 74), 15) {
        [255, 236, 170]
    } else if y < HORIZON {
        blend([64, 110, 180], [255, 190, 130], y, HORIZON)
    } else if y < shore {
        let glitter = x.abs_diff(232) < 6 + (y - HORIZON) / 2 && noise(x, y / 2).is_multiple_of(4);
        let sea = blend([40, 120, 140], [20, 80, 110], y - HORIZON, SHORE - HORIZON);
        if glitter { [250, 215, 160] } else { sea }
    } else if y < shore + 3 {
        [240, 240, 235] // foam
    } else if in_disc(x, y, (92, 176), 8) {
        blend([190, 90, 60], [120, 50, 40], y.saturating_sub(168), 16) // a shell, someone's home
    } else {
        let grain = u8::try_from(noise(x, y) % 13).unwrap_or_default();
        let sand = blend([215, 185, 140], [180, 145, 100], y - SHORE, HEIGHT - SHORE);
        sand.map(|part| part - grain)
    }
}

/// A number without a visible pattern, the same for the same place.
fn noise(x: u32, y: u32) -> u32 {
    let mixed =
        (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77)).wrapping_mul(0xC2B2_AE3D);
    mixed ^ mixed >> 15
}

/// A triangle wave of this period and height.
fn wave(x: u32, period: u32, height: u32) -> u32 {
    let phase = x % period;
    phase.min(period - phase) * 2 * height / period
}

fn in_disc(x: u32, y: u32, (cx, cy): (u32, u32), radius: u32) -> bool {
    x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2) < radius.pow(2)
}

/// The colour at `part` of `whole` on the way from one to another.
fn blend(from: [u8; 3], to: [u8; 3], part: u32, whole: u32) -> [u8; 3] {
    let part = part.min(whole);
    std::array::from_fn(|i| {
        let mixed = (u32::from(from[i]) * (whole - part) + u32::from(to[i]) * part) / whole;
        u8::try_from(mixed).unwrap_or(u8::MAX)
    })
}

/// A PNG file of these rows of 24-bit pixels.
fn png(rows: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(WIDTH.to_be_bytes());
    header.extend(HEIGHT.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]); // 8 bits a channel, red green blue, no interlacing
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk(*b"IHDR", &header));
    file.extend(chunk(*b"IDAT", &zlib(rows)));
    file.extend(chunk(*b"IEND", &[]));
    file
}

fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind, data].concat();
    let length = u32::try_from(data.len()).expect("a picture of 320 by 200 is below 4 GiB");
    [
        &length.to_be_bytes()[..],
        &body,
        &crc32(&body).to_be_bytes(),
    ]
    .concat()
}

/// A zlib stream that stores its data as it is.
fn zlib(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a chunk of at most u16::MAX bytes");
        stream.push(u8::from(blocks.peek().is_none()));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    stream.extend(adler32(data).to_be_bytes());
    stream
}

fn adler32(data: &[u8]) -> u32 {
    let (low, high) = data.iter().fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11E6_0398);
    }

    #[test]
    fn the_picture_has_a_frame_that_readers_accept() {
        let file = beach();
        assert_eq!(&file[..16], b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR");
        assert_eq!(&file[16..24], [0, 0, 1, 64, 0, 0, 0, 200]);
        assert_eq!(&file[file.len() - 12..], b"\x00\x00\x00\x00IEND\xaeB`\x82");
    }

    #[test]
    fn sky_sea_and_sand_are_where_they_belong() {
        let [top, sea, sand] = [(10, 0), (10, 120), (10, 190)].map(|(x, y)| colour(x, y));
        assert!(top[2] > top[0], "blue above: {top:?}");
        assert!(sea[1] > sea[0], "green-blue in the middle: {sea:?}");
        assert!(sand[0] > sand[2], "yellow below: {sand:?}");
    }
}
