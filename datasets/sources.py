"""Addresses, sizes and checksums of the public sets of CycleGAN, CUT and pix2pix."""

from dataclasses import dataclass

CYCLEGAN = "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{}.zip"
PIX2PIX = "https://efrosgans.eecs.berkeley.edu/pix2pix/datasets/{}.tar.gz"
CUT_CODE = "https://codeload.github.com/taesungp/contrastive-unpaired-translation/zip/{}"


@dataclass(frozen=True)
class Source:
    """One public set."""

    content: str
    address: str = CYCLEGAN
    """Of the archive; {} is replaced by the name of the set."""
    size: int | None = None
    """Bytes of the archive."""
    sha256: str | None = None
    """Of the archive; None: not published."""
    inside: str = ""
    """The folder of the archive that is the set; empty: all."""

    @property
    def pairs(self) -> bool:
        """True if each file holds a pair side by side, as for --dataset_mode aligned."""
        return self.address == PIX2PIX


# Sizes and checksums: TensorFlow Datasets, tensorflow_datasets/url_checksums/cycle_gan.txt
SOURCES: dict[str, Source] = {
    "horse2zebra": Source("horses, zebras (ImageNet)", size=116867962,
                          sha256="a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1"),
    "apple2orange": Source("apples, oranges (ImageNet)", size=78456409,
                           sha256="845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8"),
    "summer2winter_yosemite": Source("Yosemite in summer, in winter (Flickr)", size=132640856,
                                     sha256="167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9"),
    "monet2photo": Source("paintings (WikiArt), landscape photographs (Flickr)", size=305231073,
                          sha256="88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04"),
    "cezanne2photo": Source("paintings (WikiArt), landscape photographs (Flickr)", size=279885071,
                            sha256="3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff"),
    "ukiyoe2photo": Source("prints (WikiArt), landscape photographs (Flickr)", size=292946532,
                           sha256="02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08"),
    "vangogh2photo": Source("paintings (WikiArt), landscape photographs (Flickr)", size=306590349,
                            sha256="362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff"),
    "maps": Source("aerial photographs, maps (Google Maps)", size=1476754427,
                   sha256="639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e"),
    "facades": Source("facades and their labels (CMP Facades)", size=35135868,
                      sha256="9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0"),
    "iphone2dslr_flower": Source("flowers by telephone, by reflex camera (Flickr)", size=339964458,
                                 sha256="8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113"),
    "ae_photos": Source("photographs for CycleGAN's photo enhancement"),
    "grumpifycat": Source("Russian Blue cats (Oxford-IIIT Pet), Grumpy Cat"),
    "edges2shoes": Source("edges and shoes (UT Zappos50K), side by side", PIX2PIX),
    "edges2handbags": Source("edges and handbags (Amazon, by iGAN), side by side", PIX2PIX),
    "night2day": Source("one scene at two times of day (Transient Attributes), side by side", PIX2PIX),
    "single_image_monet_etretat": Source(
        "one painting by Monet, one photograph of Étretat: CUT's single images",
        CUT_CODE.format("a138080e20f433b76688caa078aa1b4a10f92cd9"), inside="datasets/single_image_monet_etretat"),
}

CITYSCAPES = (
    "the licence of cityscapes forbids passing it on: register at https://www.cityscapes-dataset.com, download "
    "gtFine_trainvaltest.zip and leftImg8bit_trainvaltest.zip, unpack both, and run python "
    "datasets/prepare_cityscapes.py --gtFine_dir gtFine --leftImg8bit_dir leftImg8bit --out datasets/cityscapes"
)
