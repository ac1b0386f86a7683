"""The words of the grammar's documents: changing them changes the corpus, and with it nano and its golden."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ADJECTIVES = _words("""
    amber ashen azure bitter blue brave brisk broad calm clear cold coral crimson dark deep dim dry dusty early faint
    fair firm fresh frosty gentle gold grand gray green grim hazy heavy hollow icy idle ivory jade keen late light
    lone lucky mellow mild misty narrow noble odd olive pale plain proud quick quiet rapid rosy rough rusty shy silver
    slow smoky solid stony""")
ANIMALS = _words("""
    badger bat bear camel carp clam cod crab crane crow deer duck eagle eel finch fox gecko goat goose gull hare hawk
    heron horse kite lamb lion llama lynx mole moth mouse mule newt orca otter owl perch pike pony puma quail rat
    raven robin seal shark sheep shrew snake squid stoat stork swan tiger toad trout tuna turtle viper vole wasp whale
    wolf""")
MEASURES = _words("tiny small short thin wide tall large huge")
THINGS = _words("""
    bell book bowl box brush candle chair clock coat cup drum flute fork glass hat jar key knife ladder lamp map
    mirror nail needle pan pen ring rope spoon table wheel whistle""")
FORENAMES = _words("""
    Arn Bel Bri Cor Del Dra Eld Fen Gal Hal Ith Jor Kas Kel Lor Mar Mir Nor Ost Pel Quin Ral Sol Tam Tor Urs Var Vin
    Wen Xan Yor Zed""")
SURNAMES = _words("""
    beth bur cas din dor eth fa gar hul jen kos lan lo mel mir nia nok pol ra rik sa sen tav tis ul vek vin wil wyn
    xor yan zim""")
