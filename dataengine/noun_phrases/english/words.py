"""Closed classes of English words that the grammar and the validation share; general English, written by hand.

A word may stand in several classes (`light`, `left`); the grammar decides by its neighbours. Verbs are in `verbs.py`.
"""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


ARTICLES = word_set("a an the")
POSSESSIVES = word_set("my your his her its our their it's whose")
NUMBERS = word_set("zero one two three four five six seven eight nine ten eleven twelve dozen hundred thousand")
DETERMINERS = (
    ARTICLES
    | POSSESSIVES
    | NUMBERS
    | word_set(
        "this that these those some any no each every either neither both all half several many few most more much "
        "another other various multiple numerous such what which"
    )
)
# Determiners that always open a new noun phrase; `one`, `that` or `other` may be inside one.
OPENERS = ARTICLES | POSSESSIVES | word_set("this these those some several each every another")

SUBJECT_PRONOUNS = word_set("i you he she it we they who there someone somebody everyone everybody anyone nobody")
PRONOUNS = SUBJECT_PRONOUNS | word_set(
    "me him her us them this that these those something anything nothing everything none mine yours his hers ours "
    "theirs myself yourself himself herself itself ourselves themselves one ones another others each both all some "
    "any many most few several such what which whom whose here where half other either neither much more"
)
RELATIVES = word_set("that which who whom whose where when")
SUBORDINATORS = word_set("while as because although though since if unless until whereas whether when so than then")
CONJUNCTIONS = word_set("and or & nor plus but yet")

PREPOSITIONS = word_set(
    "of in on at by for from with without within into onto upon to toward towards through throughout across along "
    "alongside around about above over below under underneath beneath beside besides between among amongst amid "
    "behind beyond near against atop inside outside off up down out away via like unlike per past during before "
    "after despite except including opposite next ahead apart together aboard amidst onboard infront ontop onthe "
    "inthe ofthe"
)
# Adverbs that end a noun phrase after its noun; those in -ly are recognised by their ending.
ADVERBS = word_set(
    "very too also quite rather almost just still already now currently slightly not never always often sometimes "
    "only even here there sideways upright upward upwards downward downwards forward forwards backward backwards "
    "overhead horseback nearby indoors outdoors downhill uphill upside somewhat alot perhaps maybe again once ever "
    "well together apart straight far further furthest closely hard fast low high"
)
LY_NOT_ADVERBS = word_set(
    "family fly butterfly dragonfly belly jelly lily bully ally assembly supply reply italy curly friendly lonely "
    "elderly ugly silly lovely lively chilly hilly woolly wooly bubbly oily smelly wrinkly holly trolley only doily "
    "early daily likely frilly cuddly costly deadly monopoly gully anomaly potbelly"
)

# Adjectives that are almost never the noun of a phrase, so that one at its end is not taken for the noun.
PLAIN_ADJECTIVES = word_set(
    "big small large little tiny huge giant enormous tall short long wide narrow thick thin deep shallow high low "
    "old young new older younger oldest youngest newer taller tallest larger largest smaller smallest bigger "
    "biggest longer longest shorter darker lighter brighter ancient modern antique vintage fresh clean dirty dusty "
    "rusty muddy wet dry damp cloudy sunny rainy snowy foggy hazy windy stormy clear blurry bright dark dim pale "
    "vivid shiny glossy matte smooth rough soft sharp blunt round oval rectangular circular triangular cylindrical "
    "curved curly wavy straight flat steep bumpy fluffy furry fuzzy hairy puffy bushy leafy leafless grassy sandy "
    "rocky stony wooden metallic golden silvery woolen leathery empty full open closed shut broken whole ripe raw "
    "cooked fried baked hot cold warm cool frozen beautiful pretty nice lovely ugly cute handsome colorful "
    "colourful multicolored multicolor transparent translucent visible invisible asleep awake alive dead alone "
    "happy sad angry tired busy bare barefoot naked shirtless topless bald elderly public private electric "
    "electronic digital wild tame calm choppy quiet loud heavy light-colored dark-colored decorative ornate fancy "
    "plain simple complex similar different same identical unique typical common rare available able ready due "
    "aware careful certain sure adjacent close distant near-by residential commercial industrial domestic "
    "single double triple main major minor upper lower inner outer rear horizontal vertical diagonal parallel "
    "perpendicular prominent partial complete delicious tasty juicy crispy crunchy crusty creamy healthy sick "
    "strong weak fat skinny slim slender chubby muscular fit athletic gray grey red blue brown purple yellow violet "
    "maroon beige tan turquoise teal magenta pinkish reddish bluish greenish yellowish brownish whitish grayish "
    "greyish blackish black white pink green striped spotted dotted checkered plaid floral patterned lit unlit "
    "intact loose tight sleek sturdy rustic lush dense sparse overcast intense unclear furthest farthest nearest "
    "closest rightmost leftmost topmost bottommost topped"
)
# Words that name a colour, a material or the like; nouns as well ("an orange", "a glass", "a remote").
NOUN_ADJECTIVES = word_set(
    "orange gold silver bronze copper cream lavender khaki glass wood metal stone brick concrete cement marble "
    "steel iron leather cotton denim paper cardboard wicker straw rubber wool silk granite light left right front "
    "back top bottom middle center centre side american square chrome ceramic porcelain vinyl nylon camouflage camo "
    "navy aqua ivory olive peach rose salmon tile far plastic male female individual adult blonde blond brunette "
    "antique remote"
)
# Those of them that are never the noun of a phrase.
NEVER_NOUNS = word_set("left right far american")
ADJECTIVES = PLAIN_ADJECTIVES | NOUN_ADJECTIVES
ADJECTIVE_ENDINGS = ("ful", "less", "ous", "ish", "ible", "able", "ical", "-shaped", "-like", "-sized", "-looking")
ADJECTIVE_ENDING_NOUNS = word_set(
    "vegetable table cable fish dish handful mouthful spoonful armful jellyfish timetable bible mandible"
)

# "a group of people" is about people: groups, amounts and parts that do not name a thing by themselves.
QUANTITY_NOUNS = word_set(
    "group bunch pair couple lot lots row line herd flock crowd pile heap stack mound set series number bit piece "
    "handful dozen hundred thousand array assortment variety collection selection cluster clump string swarm school "
    "pack team gathering gang band batch bundle mass amount plenty load bouquet thicket sort kind type form part "
    "portion section segment half quarter majority rest inside outside front side back top bottom edge end corner "
    "middle center centre tip view glimpse patch sheet slice chunk drop strip strand layer body expanse mix mixture "
    "abundance multitude trio duo quartet column range grove stand tuft dash shot close-up closeup trail stretch "
    "one some all many most both each several few two three four five six seven eight nine ten either none any "
    "another forest litter fleet stream line-up lineup scoop splash"
)
# PHOTO_NOUNS name the photo itself or the talk about it, never a thing in it; a picture may hang on a wall in it.
PICTURE_NOUNS = word_set("picture photo photograph pic snapshot")
PHOTO_NOUNS = word_set(
    "image scene screenshot region caption description question answer depiction foreground phrase prompt "
    "instruction response img assistant"
)

# Lexicalised compounds whose last word alone names another thing.
COMPOUNDS = word_set(
    "hot_dog fire_hydrant teddy_bear stuffed_bear stuffed_animal night_stand cell_phone mobile_phone ice_cream "
    "french_fry polar_bear stop_sign traffic_light street_light street_sign parking_meter parking_lot "
    "parking_garage wine_glass baseball_bat baseball_glove tennis_racket hair_drier hair_dryer tooth_brush "
    "potted_plant dining_table coffee_table coffee_maker coffee_pot tea_pot tea_kettle bed_spread bed_sheet "
    "side_walk cross_walk skate_board snow_board surf_board sea_gull rain_coat suit_case brief_case back_pack "
    "hand_bag tool_box mail_box life_jacket life_vest life_guard wet_suit hall_way door_way drive_way high_way "
    "rail_road train_track train_station gas_station bus_stop fire_truck fire_place fire_engine police_officer "
    "police_car soccer_ball soccer_player tennis_player tennis_ball tennis_court baseball_player basketball_player "
    "football_player baseball_field cutting_board ironing_board washing_machine sewing_machine swimming_pool "
    "christmas_tree palm_tree pine_tree tree_trunk swim_suit bathing_suit sun_flower butter_fly sun_glasses "
    "eye_glasses foot_ball base_ball basket_ball snow_man corn_dog guinea_pig sea_lion sea_horse pop_corn "
    "pine_apple pan_cake cup_cake bow_tie neck_tie shower_curtain shower_head toilet_paper toilet_tank paper_towel "
    "paper_plate trash_can garbage_can trash_bin remote_control game_controller video_game computer_mouse mouse_pad "
    "window_sill window_frame door_knob door_frame light_bulb light_switch light_pole lamp_post lamp_shade "
    "power_line power_pole telephone_pole phone_booth license_plate head_light tail_light steering_wheel "
    "ferris_wheel air_conditioner air_plane fighter_jet roller_coaster potato_chip bell_pepper whipped_cream"
)

# Gerunds that open a compound noun even after a noun: "wooden cutting board".
COMPOUND_GERUNDS = word_set(
    "parking cutting dining living shopping sleeping washing swimming bathing baking frying mixing serving sewing "
    "ironing playing running waiting sitting chopping wrapping writing walking hiking fishing cooking camping "
    "racing carving drinking changing loading landing braking heating cooling measuring polishing knitting "
    "lightning boxing riding skiing surfing recycling vending steering rocking folding reclining wedding plumbing "
    "housing building rolling sailing jumping training warning climbing reading gaming"
)
# Words in -ing that are nouns or other parts of speech, never what the subject does.
ING_NOUNS = word_set(
    "building ceiling railing painting string ring wing king thing clothing awning lighting icing frosting topping "
    "stuffing writing lettering marking siding flooring paneling panelling earring evening morning wedding pudding "
    "seasoning dressing wiring piping tubing plumbing molding moulding clearing crossing drawing scaffolding tiling "
    "bedding dumpling duckling sapling seedling sibling spring sling viking filling lining fencing roofing sterling "
    "something anything nothing everything during gathering handwriting engraving carving landing swing wording "
    "shoestring outbuilding sewing housing trimming netting matting edging decking shading belonging meeting "
    "offering beginning ending warning greeting parking stocking opening setting batting shelving bling herring "
    "starling lightning darling cabling grating drawstring shirting rigging gosling nestling yearling hireling "
    "fledgling meaning serving helping"
)
# Those of them that are also verbs if an object follows: "a man painting a wall".
ING_VERBS_TOO = word_set(
    "painting writing lighting topping stuffing marking dressing clearing crossing drawing filling lining gathering "
    "engraving carving landing swing trimming meeting offering beginning ending warning greeting parking opening "
    "setting batting serving helping coping shading housing icing frosting swinging"
)
# Words in -ed that are not participles.
ED_NOT_PARTICIPLES = word_set(
    "bed shed sled seed weed reed red speed steed feed deed breed need bobsled hundred toolshed watershed flatbed "
    "seaweed moped biped infrared sacred naked wicked rugged ragged jagged wretched kindred coed indeed flowerbed "
    "riverbed sunbed bunkbed hatred tumbleweed linseed birdseed"
)
IRREGULAR_PLURALS: dict[str, str] = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "mens": "man", "womens": "woman", "childrens": "child", "peoples": "person",
    "geese": "goose", "mice": "mouse", "oxen": "ox", "dice": "die", "lice": "louse", "cacti": "cactus",
    "octopi": "octopus", "fungi": "fungus", "leaves": "leaf", "knives": "knife", "wolves": "wolf", "calves": "calf",
    "halves": "half", "shelves": "shelf", "bookshelves": "bookshelf", "loaves": "loaf", "scarves": "scarf",
    "hooves": "hoof", "wives": "wife", "lives": "life", "thieves": "thief", "elves": "elf", "selves": "self",
    "wharves": "wharf", "lenses": "lens", "axes": "axe", "gases": "gas", "canvases": "canvas", "irises": "iris",
    "pies": "pie", "ties": "tie", "neckties": "necktie", "movies": "movie", "cookies": "cookie", "brownies": "brownie",
    "hoodies": "hoodie", "smoothies": "smoothie", "selfies": "selfie", "zombies": "zombie", "zeroes": "zero",
    "potatoes": "potato", "tomatoes": "tomato", "mangoes": "mango", "heroes": "hero", "volcanoes": "volcano",
    "buffaloes": "buffalo", "mosquitoes": "mosquito", "echoes": "echo", "tornadoes": "tornado", "dominoes": "domino",
    "buses": "bus", "minibuses": "minibus", "cactuses": "cactus", "octopuses": "octopus", "walruses": "walrus",
    "viruses": "virus", "campuses": "campus", "circuses": "circus", "hippopotamuses": "hippopotamus",
    "quizzes": "quiz", "matrices": "matrix", "vertices": "vertex", "aircraft": "aircraft", "caches": "cache",
    "headaches": "headache", "moustaches": "moustache", "mustaches": "mustache", "quiches": "quiche",
    "firemen": "fireman", "snowmen": "snowman", "policemen": "policeman", "fishermen": "fisherman",
}  # fmt: skip
# Words in -s that are singular or have no singular.
S_INVARIANT = word_set(
    "pants jeans shorts trousers leggings overalls pajamas pyjamas tights scissors tongs pliers tweezers binoculars "
    "glasses sunglasses eyeglasses goggles clothes series species news tennis gas bus minibus lens canvas atlas "
    "christmas iris debris chassis basis pelvis trellis always perhaps its this his thus yes us as is was has does "
    "chess mathematics graphics gymnastics athletics physics headquarters crossroads sweats khakis briefs suds hers "
    "ours theirs yours pancreas texas vegas bias alias asparagus hummus cactus octopus walrus citrus status virus "
    "campus circus hippopotamus hibiscus platypus eucalyptus rhinoceros brass"
)
