//! The folder that a development bridge may touch: a few documents such as a home has, made on the first run.

mod pdf;
mod picture;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::workspace::write;

const NOTES: &str = "\
# Notes

- Boiler service is due in February; the fitter is Lucie Hamon, 02 98 00 00 14
- The spare key is with Mrs Le Goff on the second floor
- Bike: rear tyre 700x35c, change before spring
- Book to look for: \"The Sea Around Us\", Rachel Carson
- Idea for the balcony: thyme, chives, one lemon tree
";

const SHOPPING: &str = "\
# Shopping

- [ ] coffee, ground
- [ ] oat milk, two
- [x] light bulbs, E27
- [ ] lemons
- [ ] birthday candles for Jonas
";

const BUDGET: &str = "\
month,category,planned_eur,spent_eur
2026-01,rent,820.00,820.00
2026-01,electricity,64.00,71.35
2026-01,food,340.00,312.80
2026-01,transport,55.00,55.00
2026-02,rent,820.00,820.00
2026-02,electricity,64.00,68.10
2026-02,food,340.00,355.42
2026-02,transport,55.00,38.50
2026-03,rent,820.00,820.00
2026-03,electricity,64.00,59.90
2026-03,food,340.00,298.17
2026-03,transport,55.00,61.20
";

const TRIP: &str = "\
# Lisbon in May

Thursday 14 to Sunday 17 May 2026, two people.

- Train to the airport 06:12, flight 09:05
- Room near Graca, breakfast included, paid
- To see: the tile museum, the ferry to Cacilhas at sunset
- To ask: does the tram pass cover the ferry?
";

const RECIPE: &str = "\
Buckwheat pancakes, for four

330 g buckwheat flour, 10 g salt, 1 egg, 750 ml cold water.
Stir flour and salt, add the water slowly, then the egg. Two hours in the cold.
Very hot pan, a little butter, thin.
";

const LETTER: [&str; 12] = [
    "Breizh Energie - Customer service",
    "PROOF OF ADDRESS",
    "",
    "Customer:          Camille Kerdoncuff",
    "Customer number:   4471 0092 38",
    "Supply address:    12 quai des Bernaches, 29200 Brest, France",
    "Contract:          electricity, 6 kVA, since 3 September 2021",
    "Date of issue:     2 March 2026",
    "",
    "We confirm that the person named above holds the electricity contract",
    "for the address given, and that it is in force on the date of issue.",
    "This letter is a made-up example and is worth nothing to anyone.",
];

/// Makes the folder with its documents, in `workshop` until it is whole; a folder that exists is
/// left exactly as it is. Says whether it made one.
pub(crate) fn make(folder: &Path, workshop: &Path) -> Result<bool> {
    if folder.exists() {
        return Ok(false);
    }
    if workshop.exists() {
        fs::remove_dir_all(workshop).context("removing an unfinished playground")?;
    }
    for (name, content) in [
        ("notes.md", NOTES.into()),
        ("shopping/list.md", SHOPPING.into()),
        ("budget-2026.csv", BUDGET.into()),
        ("travel/lisbon.md", TRIP.into()),
        ("recipes/buckwheat-pancakes.txt", RECIPE.into()),
        ("letters/proof-of-address.pdf", pdf::letter(&LETTER)),
        ("photos/beach.png", picture::beach()),
    ] {
        let content: Vec<u8> = content;
        write(&workshop.join(name), content)?;
    }
    fs::rename(workshop, folder).context("putting the playground in its place")?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playground_is_made_once_and_never_written_over() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("playground");
        let workshop = home.path().join("workshop");
        write(&workshop.join("half"), "of an earlier try").unwrap();
        assert!(make(&folder, &workshop).unwrap());
        assert!(!folder.join("half").exists() && !workshop.exists());
        assert_eq!(fs::read_to_string(folder.join("notes.md")).unwrap(), NOTES);
        assert!(folder.join("letters/proof-of-address.pdf").is_file());

        fs::write(folder.join("notes.md"), "mine").unwrap();
        fs::remove_file(folder.join("photos/beach.png")).unwrap();
        assert!(!make(&folder, &workshop).unwrap());
        assert_eq!(fs::read_to_string(folder.join("notes.md")).unwrap(), "mine");
        assert!(!folder.join("photos/beach.png").exists());
    }
}
