//! The smallest PDF that every reader opens: one page of text in Helvetica.

/// A letter of these lines on one A4 page; the second line is its heading. The text is ASCII.
pub(super) fn letter(lines: &[&str]) -> Vec<u8> {
    let page = page(lines);
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()),
        font("Helvetica"),
        font("Helvetica-Bold"),
    ];
    document(&objects).into_bytes()
}

fn font(name: &str) -> String {
    format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>")
}

/// What is drawn: a blue bar at the top, then the lines.
fn page(lines: &[&str]) -> String {
    let shown = lines.iter().enumerate().map(|(number, line)| {
        let style = if number == 1 {
            "/F2 16 Tf"
        } else {
            "/F1 11 Tf"
        };
        [style, " (", &escaped(line), ") Tj T*\n"].concat()
    });
    let bar = "0.12 0.36 0.55 rg 0 806 595 36 re f 0 g\nBT 56 770 Td 22 TL\n".to_owned();
    bar + &shown.collect::<String>() + "ET"
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('(', "\\(")
        .replace(')', "\\)")
}

/// Objects numbered from 1, and the table of where each begins.
fn document(objects: &[String]) -> String {
    let size = objects.len() + 1;
    let mut text = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for (number, object) in (1..).zip(objects) {
        let (entry, object) = entry(number, text.len(), object);
        table += &entry;
        text += &object;
    }
    let start = text.len();
    let trailer = format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
    [text, table, trailer].concat()
}

/// An object's line in the table, and the object as it stands in the file.
fn entry(number: usize, offset: usize, object: &str) -> (String, String) {
    (
        format!("{offset:010} 00000 n \n"),
        format!("{number} 0 obj\n{object}\nendobj\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_points_at_each_object_and_the_end_at_the_table() {
        let pdf = String::from_utf8(letter(&["From (us)", "Heading"])).unwrap();
        let start: usize = pdf
            .rsplit_once("startxref\n")
            .unwrap()
            .1
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let table: Vec<&str> = pdf[start..].lines().collect();
        assert_eq!(&table[..3], ["xref", "0 7", "0000000000 65535 f "]);
        for (number, entry) in (1..=6).zip(&table[3..]) {
            let offset: usize = entry[..10].parse().unwrap();
            assert!(
                pdf[offset..].starts_with(&format!("{number} 0 obj\n")),
                "object {number}"
            );
        }
        assert!(pdf.contains("/F1 11 Tf (From \\(us\\)) Tj"));
        assert!(pdf.contains("/F2 16 Tf (Heading) Tj"));
    }

    #[test]
    fn the_page_is_as_long_as_it_says() {
        let pdf = String::from_utf8(letter(&["One", "Two"])).unwrap();
        let (_, rest) = pdf.split_once("<< /Length ").unwrap();
        let (length, rest) = rest.split_once(" >>\nstream\n").unwrap();
        let (page, _) = rest.split_once("\nendstream").unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), page.len());
    }
}
