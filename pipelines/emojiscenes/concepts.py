"""The concepts behind the scenes: which emoji, of which class, in which split.

A concept is one emoji, drawn by two vendors. Concepts are split once, by a
fixed seed: L may carry labels, U is only ever seen without labels (the
teacher sees it with captions), H is held out of everything.
"""
import json
import re
from pathlib import Path

import numpy as np

CLASSES = {
    "mammal": ["animal-mammal", "cat-face", "monkey-face"],
    "bird": ["animal-bird"],
    "sea_reptile": ["animal-marine", "animal-reptile", "animal-amphibian"],
    "bug": ["animal-bug"],
    "plant": ["plant-flower", "plant-other"],
    "produce": ["food-fruit", "food-vegetable"],
    "meal": ["food-prepared", "food-asian"],
    "building": ["place-building", "place-religious"],
    "land_vehicle": ["transport-ground"],
    "air_water_craft": ["transport-air", "transport-water"],
    "clothing": ["clothing"],
    "music": ["musical-instrument", "music"],
    "face": ["face-affection", "face-concerned", "face-glasses", "face-hand",
             "face-hat", "face-negative", "face-neutral-skeptical",
             "face-sleepy", "face-smiling", "face-tongue", "face-unwell"],
    "person": ["person", "person-role", "person-activity", "person-fantasy",
               "person-sport"],
}
NAMES = list(CLASSES)
VENDORS = ("google", "twitter")
CONCEPTS_PER_CLASS = 24
LABELED, UNLABELED = 0.3, 0.45  # shares of L and U; the rest is H
STOP_WORDS = frozenset("a an the of with and or in on for to".split())


def words(text):
    return [w for w in re.findall(r"[a-z0-9]+", text.lower()) if w not in STOP_WORDS]


def load(build, seed=0):
    """Reads the npm packages below build; returns the chosen concepts."""
    modules = Path(build) / "node_modules"
    emoji = json.loads((modules / "emoji-datasource-google/emoji.json").read_text())
    names = {e["hexcode"].replace("-FE0F", ""): e for e in
             json.loads((modules / "emojibase-data/en/data.json").read_text())}
    class_of = {sub: c for c, subs in enumerate(CLASSES.values()) for sub in subs}

    found = []
    for e in sorted(emoji, key=lambda e: e["unified"]):
        if e["subcategory"] not in class_of or not all(e[f"has_img_{v}"] for v in VENDORS):
            continue
        # Of people, only the gender-neutral one of each role.
        if (e["category"] == "People & Body" and "200D" in e["unified"]
                and not e["unified"].startswith("1F9D1-200D")):
            continue
        named = names.get(e["unified"].replace("-FE0F", ""))
        if named is None:
            continue
        found.append({
            "files": [modules / f"emoji-datasource-{v}/img/{v}/64/{e['image']}" for v in VENDORS],
            "class": class_of[e["subcategory"]],
            "name": words(named["label"]),
            "tags": [t for t in map(words, named.get("tags", [])) if t],
        })

    rng = np.random.RandomState(seed)
    for c in range(len(NAMES)):
        of_class = [k for k, o in enumerate(found) if o["class"] == c]
        rng.shuffle(of_class)
        of_class = of_class[:CONCEPTS_PER_CLASS]
        for rank, k in enumerate(of_class):
            share = rank / len(of_class)
            found[k]["split"] = "L" if share < LABELED else "U" if share < LABELED + UNLABELED else "H"
    return [o for o in found if "split" in o]


def vocabulary(concepts):
    """Word -> number from 1; 0 is padding."""
    found = {w for o in concepts for w in o["name"] + sum(o["tags"], [])}
    return {w: k + 1 for k, w in enumerate(sorted(found))}
