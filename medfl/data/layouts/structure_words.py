"""Words for what a mask can show: structures, tissues and findings, in English, German and French, as file names have them.

One line is one thing and its synonyms; its first word stands for it. Words of one name are joined by hyphens. Accents do not
count, and are left out: `lasion` and `laesion` are Läsion.
"""

from __future__ import annotations

_ORGANS = """
brain gehirn hirn cerveau encephalon cerebral
skull schadel schaedel crane cranium
scalp kopfhaut
face deface gesicht visage
wm white-matter white weisse-substanz substance-blanche
gm grey-matter gray-matter grey gray graue-substanz substance-grise
cgm cortical-grey-matter cortical-gray-matter
sgm scgm subcortical-grey-matter subcortical-gray-matter
csf liquor lcr cerebrospinal-fluid
ventricle ventrikel ventricule ventricular
thalamus
hippocampus hippocampe hippocampal
hippocampus-head hippocampal-head
amygdala
caudate
putamen
pallidum
basal-ganglia
cerebellum kleinhirn cervelet cbm cerebellar
cerebrum
brainstem brain-stem hirnstamm
hypothalamus
pituitary hypophyse hypophysis
pons
corpus-callosum
aparc
aseg
wmparc
atlas
parcellation parc
eye auge oeil
orbit
retina retinal
macula makula
fovea
lens linse
optic-nerve
optic-disc optic-disk papilla
optic-cup cup
chiasm chiasma optic-chiasm
cochlea
parotid parotis
submandibular
mandible unterkiefer mandibule
jaw kiefer
tooth teeth zahn zahne zaehne dent dents
tongue zunge langue
larynx
pharynx
thyroid schilddruse schilddruese thyroide
trachea luftrohre luftroehre trachee
esophagus oesophagus speiserohre speiseroehre oesophage
airway airways atemweg atemwege
lung lunge poumon pulmonary
pleura
mediastinum
rib rippe cote ribs
sternum brustbein
clavicle schlusselbein schluesselbein clavicule
scapula schulterblatt
heart herz coeur cardiac
lv left-ventricle ventricle-left
rv right-ventricle ventricle-right
la left-atrium atrium-left
ra right-atrium atrium-right
atrium vorhof oreillette
myocardium myokard myocarde myo
pericardium perikard
aorta aorte aortic
pulmonary-artery
ivc cava vena-cava
liver leber foie hepar hepatic
spleen milz splenic
kidney niere rein renal
adrenal nebenniere surrenale
pancreas pankreas bauchspeicheldruse pancreatic
pancreas-head pancreatic-head
gallbladder gallenblase vesicule
stomach magen estomac gastric
duodenum
bowel darm intestin intestine
small-bowel dunndarm duenndarm small-intestine
colon kolon dickdarm colonic
rectum rektum rectal
sigmoid
bladder blase harnblase vessie
prostate prostata whole-gland wg
tz transition-zone transitional-zone
pz peripheral-zone
seminal-vesicle
uterus uterine gebarmutter gebaermutter
cervix
ovary ovar ovaire
testis hoden testicule
breast mamma
fibroglandular fgt
ln lymph-node lymph lymphknoten ganglion
bone knochen skeleton skelett
vertebra vertebrae wirbel vertebre vertebral vertebral-body
spine wirbelsaule wirbelsaeule
spinal-cord cord ruckenmark rueckenmark moelle
disc disk bandscheibe disque
sacrum kreuzbein
hip hufte huefte hanche
femur femoral
femoral-head femur-head hip-head
tibia
fibula
patella
humerus
radius
ulna
skin haut peau
embryo
fetus foetus fotus
placenta plazenta
body korper koerper corps whole-body external
"""
_INNER = """
vessel gefass gefaess vaisseau vasculature vascular gefasse gefaesse
artery arterie arteries arterien artere arteres
coronary coronaries coronary-artery coronary-arteries
lad
rca
lcx
vein vene veine veins venen
bronchus bronchi bronchial
lobe lappen lobus
fissure
cortex kortex cortical cortices
gyrus gyri
sulcus sulci
ribbon
nerve nerv nerf
cartilage knorpel cartilages
meniscus meniskus menisque
ligament
tendon sehne
muscle muskel muskeln
fat fett graisse adipose
sat subcutaneous-fat subcutaneous-adipose
vat visceral-fat visceral-adipose
air luft
implant implantat
catheter katheter
pacemaker
artifact artefact artefakt
metal metall
background hintergrund
fov
"""
_FINDINGS = """
lesion lasion laesion lesional
tumour tumor tumeur neoplasm tumoral tumoural
gtv gross-tumor-volume gross-tumour-volume
gtvp gtvt
gtvn
cancer krebs karzinom carcinoma carcinome karzinome
metastasis metastases metastase metastasen met mets
glioma gliom gliome glioblastoma gbm
nodule knoten nodul rundherd
mass raumforderung masse
cyst zyste kyste
polyp polype
infarct infarkt infarctus infarction
stroke schlaganfall avc
ischemia ischaemia ischemic ischaemic
hemorrhage haemorrhage hamorrhagie haemorrhagie blutung hemorragie bleed bleeding
hematoma haematoma hamatom haematom
ich
sdh subdural-hematoma subdural-haematoma
edh epidural-hematoma epidural-haematoma
sah
ivh
hyperintensity hyperintensities
wmh white-matter-hyperintensity white-matter-hyperintensities white-matter-lesion leukoaraiosis
plaque
aneurysm aneurysma anevrisme
thrombus clot caillot
fracture fraktur
pneumonia pneumonie
consolidation konsolidierung
ggo ground-glass ground-glass-opacity ground-glass-opacities
opacity opacities
pneumothorax
effusion erguss epanchement
atelectasis atelektase
abscess abszess abces
calcification verkalkung calcium kalk
fibrosis fibrose
scar narbe cicatrice lge
"""
_PARTS_OF_FINDINGS = """
edema oedema odem oedem oedeme
necrosis nekrose necrose necrotic ncr
enhancing enhancement
penumbra
core kern
rim rand border margin edge
bed
cavity
perilesional perilesion peritumoral peritumoural peri
ctv clinical-target-volume
ptv planning-target-volume
itv
oar
"""
_VAGUE = """
gland druse druese glande
tissue gewebe tissu
organ organe
structure struktur
parenchyma parenchym
"""
_WHOLES = """
brain: wm gm csf cgm sgm ventricle thalamus hippocampus amygdala caudate putamen pallidum basal-ganglia cerebellum cerebrum
brain: brainstem hypothalamus pituitary pons corpus-callosum cortex gyrus sulcus ribbon
gm: cgm sgm cortex
eye: retina macula fovea lens optic-nerve optic-disc optic-cup
retina: macula fovea optic-disc optic-cup
optic-disc: optic-cup
heart: lv rv la ra atrium ventricle myocardium pericardium coronary lad rca lcx aorta
atrium: la ra
ventricle: lv rv
lung: lobe fissure bronchus airway
bowel: small-bowel duodenum colon rectum sigmoid
colon: rectum sigmoid
prostate: tz pz
breast: fibroglandular
spine: vertebra disc sacrum spinal-cord
bone: rib sternum clavicle scapula vertebra sacrum femur tibia fibula patella humerus radius ulna skull mandible hip
gtv: gtvp gtvn
tumour: enhancing necrosis edema core rim
glioma: enhancing necrosis edema core rim
lesion: enhancing necrosis edema core rim penumbra
"""
_KINDS = """
tumour: cancer metastasis glioma mass gtv gtvp
gtv: gtvp gtvn
stroke: infarct ischemia hemorrhage
infarct: ischemia
hemorrhage: hematoma ich sdh edh sah ivh
hematoma: sdh edh ich
hyperintensity: wmh
opacity: ggo consolidation
pneumonia: ggo consolidation opacity
vessel: artery vein coronary
artery: coronary lad rca lcx
coronary: lad rca lcx
fat: sat vat
disc: optic-disc
atrium: la ra
ventricle: lv rv
gland: prostate thyroid parotid adrenal pituitary submandibular
"""


def _read_lines(text: str) -> dict[tuple[str, ...], str]:
    """Return what stands for a thing by the words of each of its names, also written as one word."""
    things: dict[tuple[str, ...], str] = {}
    for names in map(str.split, text.strip().splitlines()):
        for name in names:
            words = tuple(name.split("-"))
            things |= {words: names[0], ("".join(words),): names[0]}
    return things


def _read_table(text: str) -> dict[str, frozenset[str]]:
    table: dict[str, frozenset[str]] = {}
    for line in text.strip().splitlines():
        name, _, others = line.partition(": ")
        table[name] = table.get(name, frozenset()) | frozenset(others.split())
    return table


# the higher of two levels is what is meant: an organ before a finding says where, and a tumour before an edema of what
_BY_LEVEL = (_VAGUE, _ORGANS, _INNER, _FINDINGS, _PARTS_OF_FINDINGS)
THINGS: dict[tuple[str, ...], str] = {words: thing for text in _BY_LEVEL for words, thing in _read_lines(text).items()}
LEVELS = {thing: level for level, text in enumerate(_BY_LEVEL) for thing in _read_lines(text).values()}
NEGATIONS = frozenset(
    ("not", "non", "no", "without", "ohne", "kein", "keine", "nicht", "sans", "pas", "healthy", "normal", "gesund")
)
PARTS = _read_table(_WHOLES)  # what a whole consists of
_OF_LESIONS = {"lesion": frozenset(_read_lines(_FINDINGS).values()) - {"lesion"}}
_OF_ORGANS = {"organ": frozenset(_read_lines(_ORGANS).values())}
KINDS = _read_table(_KINDS) | _OF_LESIONS | _OF_ORGANS  # narrower words for what a wide one may also mean
SIDES = dict.fromkeys(("left", "links", "linke", "linker", "gauche", "lh", "l"), "left") | dict.fromkeys(
    ("right", "rechts", "rechte", "rechter", "droite", "droit", "rh", "r"), "right"
)
